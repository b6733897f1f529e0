"""A model's pages once its wait has ended: a person decided, or the plan, time or another champion did."""

from __future__ import annotations

import logging

from sqlalchemy import Engine

from db import candidates
from db.engine import reading
from tasks.errors import LaudosError
from tasks.ml.errors import MlError
from tasks.ml.pages.model_report import STILL_WAITS
from tasks.model_folders import report_path
from tasks.models.models import model_row
from tasks.pages.model_card import write_card
from tasks.pages.model_report import write_report
from tasks.settings.settings import Settings

log = logging.getLogger(__name__)


def renew_pages(engine: Engine, settings: Settings) -> list[int]:
    """Write report and card of each model anew whose report still says that it waits; their numbers.

    One whose folder cannot be read any more keeps its pages, and the log says so.
    """
    with reading(engine) as c:
        waited = candidates.ended(c)
    renewed = []
    for model_id in waited:
        page = report_path(settings, model_id, "md")
        if not page.exists() or STILL_WAITS not in page.read_text("utf-8"):
            continue
        try:
            write_report(engine, settings, model_row(engine, model_id))
            write_card(engine, settings, model_id)
        except (LaudosError, MlError) as lacking:
            log.warning("the pages of model %d stay as they were: %s", model_id, lacking)
        else:
            renewed.append(model_id)
    return renewed

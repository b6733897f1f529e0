"""Which of the published models the database in force has made: a folder of models is one database's.

By its rows; and a model whose run was killed before it wrote one, by the run that its folder names. What
no run of this ledger made is another database's, or was made after the back-up that was restored.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from db import ledger, models
from tasks.ml.errors import MlError
from tasks.ml.network.published import FACTS
from tasks.ml.sealed import manifest_sha_of, read_json


def published_in(root: Path) -> list[Path]:
    """Every folder of a model there, whoever made it. A link is somebody's own doing."""
    found = (path.parent for path in root.glob(f"*/[!.]*/{FACTS}"))
    return sorted(path for path in found if not path.is_symlink())


def made_here(c: Connection, folder: Path) -> bool:
    """Whether a published folder is of a model, or of a run, that this database knows."""
    try:
        if models.has_manifest(c, manifest_sha_of(folder) or ""):
            return True
        made_at = datetime.fromisoformat(read_json(folder / FACTS)["created_at"])
    except (MlError, OSError, KeyError, TypeError, ValueError):
        return False
    named = re.match(r"run(\d+)-", folder.name)
    # another ledger has a run of that number, too: at another time
    return named is not None and ledger.was_under_way(c, int(named[1]), made_at)

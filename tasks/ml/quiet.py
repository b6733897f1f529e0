"""transformers without bars and warnings, torch on one core: for batch jobs that run beside others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers.utils import logging


@contextmanager
def quietly() -> Iterator[None]:
    """Silence transformers inside the block, and put everything back afterwards."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def on_one_core() -> None:
    """From now on this process computes on one: several of them side by side are faster so."""
    torch.set_num_threads(1)

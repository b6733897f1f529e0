"""What `classifiers.X.encoder` may say: a folder, a preset of tasks/ml/encoders, or what was imported."""

from __future__ import annotations

from pathlib import Path

from db.errors import ConfigurationError
from tasks.settings.errors import nearest
from tasks.settings.sections import ClassifierSettings


def with_encoder(name: str, classifier: ClassifierSettings, root: Path, data: Path) -> ClassifierSettings:
    """A folder's path absolute, a scratch size spelt out; the name of an imported encoder stays one.

    root: where laudos.toml lies; data: laudos' own folder. Raises ConfigurationError for no known encoder.
    """
    encoder = classifier.encoder
    if encoder == "scratch" or classifier.revision:
        return classifier
    local = root / Path(encoder).expanduser()
    if local.is_dir():
        return classifier.model_copy(update={"encoder": str(local)})
    from tasks.ml.encoders.presets import presets  # reads YAML: not for `laudos --help`

    known = presets()
    if encoder in known.scratch:
        return _of_size(name, classifier, known.scratch[encoder].model_dump(exclude={"choose"}))
    if encoder in known.pretrained or (data / "encoders" / encoder / "MANIFEST.json").is_file():
        return classifier  # whether it is there is asked when a training needs it: importing comes later
    raise ConfigurationError(
        f"'classifiers.{name}.encoder' is {encoder!r}: no folder of that name is here, no encoder of it was "
        "imported, and a hub name needs its revision, all 40 hex digits, beside it"
        f"{nearest(encoder, [*known.pretrained, *known.scratch])}"
    )


def _of_size(name: str, classifier: ClassifierSettings, size: dict[str, int]) -> ClassifierSettings:
    """A scratch encoder of a preset's size. Raises ConfigurationError where the file gives a size as well."""
    if twice := sorted(size.keys() & classifier.training.model_fields_set):
        raise ConfigurationError(
            f"'classifiers.{name}.encoder' is {classifier.encoder!r}, which says {', '.join(twice)} already; "
            'leave them out of its training, or write encoder = "scratch"'
        )
    training = classifier.training.model_copy(update=size)
    return classifier.model_copy(update={"encoder": "scratch", "training": training})

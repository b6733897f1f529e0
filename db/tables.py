"""Every table laudos owns, on one page; the same on SQLite and PostgreSQL.

Comments travel: PostgreSQL stores them, and docs/tables.md is generated from them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where the key's type is exactly INTEGER
Id = BigInteger().with_variant(Integer, "sqlite")


class Instant(TypeDecorator[datetime]):
    """A moment in UTC: timezone-aware in Python on both databases (SQLite keeps no zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def as_stored(moment: datetime, dialect: Dialect) -> Any:
    """A moment as the driver is given it, for a statement that SQLAlchemy does not bind."""
    process = Instant().dialect_impl(dialect).bind_processor(dialect)
    return moment if process is None else process(moment)


def _one_of(column: str, *values: str) -> CheckConstraint:
    quoted = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({quoted})", name=f"{column}_known")


def _count(name: str, comment: str) -> Column[Any]:
    return Column(name, Integer, nullable=False, server_default="0", comment=comment)


def _ledger() -> list[Any]:
    """The five counts of whatever reads rows, and the promise that none went missing."""
    return [
        _count("read", "rows read from the source"),
        _count("new", "reports seen for the first time"),
        _count("updated", "reports whose raw content changed: a new version each"),
        _count("unchanged", "rows already known with the same content"),
        _count("quarantined", "rows that could not be taken in; see quarantine"),
        CheckConstraint("read = new + updated + unchanged + quarantined", name="balances"),
    ]


run = Table(
    "run",
    metadata,
    Column("id", Id, primary_key=True, comment="its number: run_id elsewhere, and what messages call it"),
    Column(
        "kind",
        String(32),
        nullable=False,
        comment="ingest, synthesize, retrain, distill, pretrain, classify, monitor, nightly, retry, "
        "retention, erase",
    ),
    Column(
        "state",
        String(16),
        nullable=False,
        server_default="running",
        comment="running, completed, failed (it said why) or crashed (its process died)",
    ),
    Column("parent_id", ForeignKey("run.id"), comment="the nightly run this one belongs to"),
    Column("code_revision", String(64), nullable=False, comment="git commit or package version"),
    Column("config_sha", String(64), nullable=False, comment="sha256 of the settings, secrets left out"),
    Column("prefect_run_id", String(36), comment="where to look in the Prefect UI"),
    Column("started_at", Instant, nullable=False, comment="when it began"),
    Column("ended_at", Instant, comment="when it ended; null while it runs"),
    Column("failure", Text, comment="type and place of what ended the run; never report text"),
    *_ledger(),
    _one_of("state", "running", "completed", "failed", "crashed"),
    comment="one row a run of any kind",
)

source = Table(
    "source",
    metadata,
    Column("id", Id, primary_key=True, comment="its number: source_id elsewhere"),
    Column("name", String(64), nullable=False, unique=True, comment="its name in laudos.toml"),
    Column("kind", String(16), nullable=False, comment="database (a hospital's) or synthetic (written here)"),
    Column("watermark", Instant, comment="the latest updated_at taken in; never in the future"),
    Column("last_key", Text, comment="the id that goes with the watermark"),
    Column(
        "overlap_s",
        Integer,
        nullable=False,
        server_default="0",
        comment="seconds re-read behind the watermark",
    ),
    Column(
        "fence",
        Integer,
        nullable=False,
        server_default="0",
        comment="counts ingests; a stale one cannot commit",
    ),
    Column("reconciled_at", Instant, comment="last full key + hash comparison with the source"),
    _one_of("kind", "database", "synthetic"),
    comment="where reports come from, and how far we have read",
)

run_batch = Table(
    "run_batch",
    metadata,
    Column("run_id", ForeignKey("run.id"), primary_key=True, comment="the run it belongs to"),
    Column("seq", Integer, primary_key=True, comment="1, 2, 3... within the run"),
    Column("source_id", ForeignKey("source.id"), nullable=False, comment="the source it was read from"),
    Column("at", Instant, nullable=False, comment="when it was committed"),
    *_ledger(),
    comment="one row a committed batch of an ingest: its share of the run's ledger",
)

report = Table(
    "report",
    metadata,
    Column("id", Id, primary_key=True, comment="its number: report_id elsewhere"),
    Column("source_id", ForeignKey("source.id"), nullable=False, comment="the source it came from"),
    Column("external_id", Text, nullable=False, comment="the report's id at its source, as text"),
    Column(
        "patient_key",
        String(64),
        nullable=False,
        comment="sha256 of the patient's id: groups, never names; once erased a word that names nobody",
    ),
    Column("current_version", Integer, nullable=False, comment="the version that counts now: its last"),
    Column("created_at", Instant, nullable=False, comment="when it was first taken in"),
    Column("deleted_at", Instant, comment="gone at the source since"),
    Column("erased_at", Instant, comment="text removed on request since"),
    UniqueConstraint("source_id", "external_id"),
    Index("ix_report_patient_key", "patient_key"),
    comment="one row a report, whatever its versions",
)

report_version = Table(
    "report_version",
    metadata,
    Column("id", Id, primary_key=True, comment="its number: report_version_id elsewhere"),
    Column("report_id", ForeignKey("report.id"), nullable=False, comment="the report whose content it is"),
    Column("version", Integer, nullable=False, comment="1, 2, 3...: no gaps"),
    Column(
        "raw_sha",
        String(64),
        nullable=False,
        comment="sha256 of the text as it stood at the source; zeros once erased",
    ),
    Column("text", Text, comment="cleaned text; null once erased, or superseded longer than is asked for"),
    Column("cleaning_revision", Integer, nullable=False, comment="which rules cleaned it"),
    Column("repairs", JSON, nullable=False, comment="what was repaired and how often, by name"),
    Column("report_date", Date, comment="the date the report bears"),
    Column("institution", String(64), comment="whose words a synthetic report is in; null for a hospital's"),
    Column("source_updated_at", Instant, comment="updated_at at the source"),
    Column("run_id", ForeignKey("run.id"), nullable=False, comment="the run that took it in"),
    Column("created_at", Instant, nullable=False, comment="when it was taken in"),
    UniqueConstraint("report_id", "version"),
    comment="one row a content a report has had",
)

patient_group = Table(
    "patient_group",
    metadata,
    Column(
        "report_version_id",
        ForeignKey("report_version.id"),
        primary_key=True,
        comment="the content whose patient it was",
    ),
    Column("sex", String(8), comment="female, male or other; null where the source does not know"),
    Column("age_band", String(16), comment="years when it was written, such as 40-49; no date of birth"),
    Column("race", String(64), comment="as the source writes it, in small letters"),
    Column("institution", String(64), comment="where it was written, as the source calls it"),
    _one_of("sex", "female", "male", "other"),
    comment="of which groups a patient is, where a source tells: for slices and the fairness gate alone",
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Id, primary_key=True, comment="its number, as laudos quarantine shows it"),
    Column("source_id", ForeignKey("source.id"), nullable=False, comment="the source it was read from"),
    Column("external_id", Text, nullable=False, comment="empty where the row had no id"),
    Column("raw_sha", String(64), nullable=False, comment="sha256 of what was read"),
    Column("reason", String(64), nullable=False, comment="a fixed word, such as no_letters"),
    Column(
        "classifier",
        String(64),
        nullable=False,
        server_default=text("''"),
        comment="whose label or model it is about; empty where it is about the row, or every classifier",
    ),
    Column("payload", LargeBinary, nullable=False, comment="the row as read (JSON), kept for a retry"),
    Column(
        "state",
        String(16),
        nullable=False,
        server_default="waiting",
        comment="waiting, resolved (taken in since) or dismissed (by a person)",
    ),
    Column("seen", Integer, nullable=False, server_default="1", comment="how often it was read"),
    Column("first_run_id", ForeignKey("run.id"), nullable=False, comment="the run that read it first"),
    Column("first_seen_at", Instant, nullable=False, comment="when it was read first"),
    Column("last_seen_at", Instant, nullable=False, comment="when it was read last"),
    Column("closed_at", Instant, comment="when it was resolved or dismissed"),
    Column("closed_because", Text, comment="why it was dismissed or how it was resolved"),
    UniqueConstraint("source_id", "external_id", "raw_sha", "reason", "classifier"),
    _one_of("state", "waiting", "resolved", "dismissed"),
    comment="what could not be taken in, and why; nothing is dropped",
)

synthetic_set = Table(
    "synthetic_set",
    metadata,
    Column("id", Id, primary_key=True, comment="its number, in the order of auditing"),
    Column("source_id", ForeignKey("source.id"), nullable=False, comment="the classifier's synthetic source"),
    Column(
        "sha", String(64), nullable=False, comment="sha256 of what was audited, and of the audit's version"
    ),
    Column("seed", BigInteger, nullable=False, comment="what its reports were drawn with"),
    Column("exam", String(64), nullable=False, comment="the generator that wrote it"),
    Column("mode", String(16), nullable=False, comment="findings, or full: with a conclusion"),
    Column("reports_per_row", Integer, nullable=False, comment="reports written on each row of measurements"),
    Column("reserved_share", Float, nullable=False, comment="share of the rows that are kept out of it"),
    Column("grammar_sha", String(64), nullable=False, comment="sha256 of all that its words come from"),
    Column("kept", JSON, nullable=False, comment="hard reports of earlier sets in it: id -> sets outlived"),
    Column("rows", Integer, nullable=False, comment="rows of measurements it was written from"),
    Column("reports", Integer, nullable=False, comment="reports it holds; the audit may have read a sample"),
    Column("state", String(16), nullable=False, comment="accepted, or refused: no report of it was written"),
    Column("audit", JSON, nullable=False, comment="every check with its figures; no word of a report"),
    Column("run_id", ForeignKey("run.id"), nullable=False, comment="the run that audited it"),
    Column("created_at", Instant, nullable=False, comment="when it was audited"),
    Column("written_at", Instant, comment="when it came into force last; null: it never stood whole"),
    UniqueConstraint("source_id", "sha"),
    _one_of("state", "accepted", "refused"),
    comment="every synthetic training set that was ever audited, before any of it could teach",
)

label = Table(
    "label",
    metadata,
    Column(
        "report_version_id",
        ForeignKey("report_version.id"),
        primary_key=True,
        comment="the content that was judged",
    ),
    Column(
        "classifier", String(64), primary_key=True, comment="the question it answers: a name in laudos.toml"
    ),
    Column("origin", String(16), primary_key=True, comment="source, feedback or synthetic"),
    Column("actor", String(64), primary_key=True, comment="who said so: a source's name, a person's login"),
    Column("value", String(128), nullable=False, comment="what it was said to be"),
    Column("at", Instant, nullable=False, comment="when it was said so first"),
    _one_of("origin", "source", "feedback", "synthetic"),
    Index("ix_label_classifier_origin", "classifier", "origin"),
    comment="what a report version was said to be, by whom",
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("id", Id, primary_key=True, comment="its number: snapshot_id elsewhere"),
    Column(
        "classifier", String(64), nullable=False, comment="the question it teaches: a name in laudos.toml"
    ),
    Column("sha", String(64), nullable=False, comment="sha256 over items: contents, labels and splits"),
    Column(
        "recipe",
        JSON,
        nullable=False,
        comment="how it was made: origins, the synthetic set in force, counts by label and split",
    ),
    Column("reports", Integer, nullable=False, comment="how many report versions it holds"),
    Column("run_id", ForeignKey("run.id"), nullable=False, comment="the run that froze it"),
    Column("created_at", Instant, nullable=False, comment="when it was frozen"),
    UniqueConstraint("classifier", "sha"),
    comment="a frozen training set",
)

snapshot_item = Table(
    "snapshot_item",
    metadata,
    Column("snapshot_id", ForeignKey("snapshot.id"), primary_key=True, comment="the training set"),
    Column("report_version_id", ForeignKey("report_version.id"), primary_key=True, comment="the content"),
    Column("label", String(128), nullable=False, comment="what it teaches, whatever is said of it later"),
    Column(
        "origin",
        String(16),
        nullable=False,
        comment="where the label came from: source, feedback or synthetic",
    ),
    Column("split", String(16), nullable=False, comment="by patient, by hash, for ever"),
    _one_of("split", "train", "calibration", "holdout"),
    comment="which report versions a snapshot holds, with which label, in which split",
)

model = Table(
    "model",
    metadata,
    Column("id", Id, primary_key=True, comment="its number: model_id elsewhere, and what messages call it"),
    Column(
        "classifier", String(64), nullable=False, comment="the question it answers: a name in laudos.toml"
    ),
    Column("path", Text, nullable=False, comment="its folder, relative to the model folder"),
    Column("manifest_sha", String(64), nullable=False, comment="sha256 of its MANIFEST.json"),
    Column(
        "encoder_sha",
        String(64),
        nullable=False,
        comment="body weights, tokenizer and windowing: what a feature depends on",
    ),
    Column(
        "snapshot_id", ForeignKey("snapshot.id"), nullable=False, comment="the training set it learnt from"
    ),
    Column(
        "trained",
        String(16),
        nullable=False,
        comment="full (the whole network) or head (the last layer)",
    ),
    Column("config", JSON, nullable=False, comment="the training configuration"),
    Column(
        "config_sha",
        String(64),
        nullable=False,
        comment="sha256 of config: the same on the same snapshot is trained once",
    ),
    Column(
        "state",
        String(16),
        nullable=False,
        server_default="ready",
        comment="ready, retired (rolled back from), tainted (folder altered) or removed (folder taken away)",
    ),
    Column("run_id", ForeignKey("run.id"), nullable=False, comment="the run that trained it"),
    Column("created_at", Instant, nullable=False, comment="when it was published"),
    _one_of("state", "ready", "retired", "tainted", "removed"),
    _one_of("trained", "full", "head"),
    comment="one row a trained model",
)

champion = Table(
    "champion",
    metadata,
    Column("classifier", String(64), primary_key=True, comment="the question: a name in laudos.toml"),
    Column("model_id", ForeignKey("model.id"), nullable=False, comment="the model that answers"),
    Column("epoch", Integer, nullable=False, comment="compare-and-set: rises by one with every change"),
    Column("since", Instant, nullable=False, comment="since when it answers"),
    comment="which model answers for a classifier now",
)

promotion = Table(
    "promotion",
    metadata,
    Column("id", Id, primary_key=True, comment="its number, in the order of decisions"),
    Column("classifier", String(64), nullable=False, comment="the question: a name in laudos.toml"),
    Column(
        "decision",
        String(16),
        nullable=False,
        comment="promoted, refused, rolled_back or ended (no model answers since)",
    ),
    Column(
        "model_id",
        ForeignKey("model.id"),
        nullable=False,
        comment="the challenger, what was rolled back to, or what answered until it was ended",
    ),
    Column("previous_model_id", ForeignKey("model.id"), comment="the champion at that moment"),
    Column("epoch", Integer, comment="the champion's new epoch; null for a refusal"),
    Column(
        "reasons",
        JSON,
        nullable=False,
        comment="each rule: name, passed, what was found, what was asked",
    ),
    Column("plan_sha", String(64), nullable=False, comment="sha256 of the promotion rules in force"),
    Column("actor", String(64), nullable=False, comment="who decided: retrain, or a person's login"),
    Column("run_id", ForeignKey("run.id"), comment="the run that decided; null for a rollback"),
    Column("at", Instant, nullable=False, comment="when it was decided"),
    UniqueConstraint("classifier", "epoch"),
    _one_of("decision", "promoted", "refused", "rolled_back", "ended"),
    comment="the whole chain of how each champion got there, refusals included",
)

_PENDING = text("state IN ('shadow', 'waiting')")  # of a classifier one at most: db/candidates.py

candidate = Table(
    "candidate",
    metadata,
    Column("id", Id, primary_key=True, comment="its number: candidate_id elsewhere"),
    Column("classifier", String(64), nullable=False, comment="the question: a name in laudos.toml"),
    Column("model_id", ForeignKey("model.id"), nullable=False, comment="the challenger that met every rule"),
    Column(
        "champion_id", ForeignKey("model.id"), comment="the champion it was held against; null without one"
    ),
    Column("champion_epoch", Integer, comment="that champion's epoch: after a change it is judged anew"),
    Column(
        "state",
        String(16),
        nullable=False,
        comment="shadow (scores along, answers nothing), waiting (for a person), accepted (it answers "
        "since), refused, expired (nobody decided in time) or overtaken (champion or plan changed)",
    ),
    Column("reasons", JSON, nullable=False, comment="each rule it met: name, passed, found, asked"),
    Column("plan_sha", String(64), nullable=False, comment="sha256 of the promotion rules it met"),
    Column("shadow_reports", Integer, nullable=False, comment="how many reports it scores along; 0: none"),
    Column("run_id", ForeignKey("run.id"), nullable=False, comment="the run that judged it"),
    Column("since", Instant, nullable=False, comment="when it met the rules"),
    Column("until", Instant, nullable=False, comment="when it expires in the state it is in"),
    Column("decided_at", Instant, comment="when it left shadow and waiting; null while it is in one"),
    Column("decided_by", String(64), comment="who decided: a step's name, or a person"),
    Column("because", Text, comment="why, in the person's words; never anything of a patient"),
    _one_of("state", "shadow", "waiting", "accepted", "refused", "expired", "overtaken"),
    Index("ix_candidate_classifier", "classifier"),
    Index(
        "uq_candidate_pending",
        "classifier",
        unique=True,
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    ),
    comment="challengers that met every rule and do not answer yet, and what became of them",
)

shadow_prediction = Table(
    "shadow_prediction",
    metadata,
    Column("candidate_id", ForeignKey("candidate.id"), primary_key=True, comment="who scored it along"),
    Column(
        "report_version_id",
        ForeignKey("report_version.id"),
        primary_key=True,
        comment="the content, which the champion answered for",
    ),
    Column("label", String(128), nullable=False, comment="what it would have said"),
    Column("probabilities", JSON, nullable=False, comment="label -> calibrated probability"),
    Column("decision", String(16), nullable=False, comment="auto, or review: it would have left it"),
    Column("at", Instant, nullable=False, comment="when it was written"),
    _one_of("decision", "auto", "review"),
    comment="what a challenger would have answered beside the champion; counts nowhere else",
)

score_job = Table(
    "score_job",
    metadata,
    Column("id", Id, primary_key=True, comment="its number: job_id elsewhere"),
    Column("classifier", String(64), nullable=False, comment="the question: a name in laudos.toml"),
    Column("model_id", ForeignKey("model.id"), nullable=False, comment="the champion that scores it"),
    Column(
        "state",
        String(16),
        nullable=False,
        server_default="open",
        comment="open, paused, done or stopped (the next job does the rest)",
    ),
    Column("reports", Integer, nullable=False, comment="backlog when the job was cut"),
    Column("run_id", ForeignKey("run.id"), nullable=False, comment="the run that cut it"),
    Column("created_at", Instant, nullable=False, comment="when it was cut"),
    Column("ended_at", Instant, comment="when it was done or stopped"),
    _one_of("state", "open", "paused", "done", "stopped"),
    comment="one backlog to score with one model",
)

score_chunk = Table(
    "score_chunk",
    metadata,
    Column("job_id", ForeignKey("score_job.id"), primary_key=True, comment="the job it is a piece of"),
    Column("seq", Integer, primary_key=True, comment="its number within the job"),
    Column("first_version_id", Id, nullable=False, comment="the first report version of its range"),
    Column("last_version_id", Id, nullable=False, comment="the last report version of its range, included"),
    Column("reports", Integer, nullable=False, comment="report versions in it when it was cut"),
    Column(
        "state",
        String(16),
        nullable=False,
        server_default="open",
        comment="open, leased (a worker has it) or done",
    ),
    Column(
        "fence",
        Integer,
        nullable=False,
        server_default="0",
        comment="rises with every claim; only the last may write",
    ),
    Column("leased_by", String(128), comment="the worker that has it: machine and process"),
    Column("leased_until", Instant, comment="when it goes to another worker unless the lease is renewed"),
    Column("done_at", Instant, comment="when its predictions were written"),
    Column("encoded", Integer, comment="texts that went through the encoder"),
    Column("written", Integer, comment="predictions written"),
    _count("deaths", "workers that fell silent over it: the second halves it, a single report is given up"),
    _one_of("state", "open", "leased", "done"),
    # the next chunk is the first of these: without deaths and seq each claim would sort all that are open
    Index("ix_score_chunk_next", "job_id", "state", "deaths", "seq"),
    comment="a range of report versions that one worker scores at a time",
)

shift_test = Table(
    "shift_test",
    metadata,
    Column("job_id", ForeignKey("score_job.id"), primary_key=True, comment="the job that it decides for"),
    Column(
        "state",
        String(16),
        nullable=False,
        server_default="due",
        comment="due (no chunk is answered yet), alike (no difference was found), shifted (what the model "
        "would answer goes to a person) or untested (answered as if there were no shift)",
    ),
    Column(
        "because",
        String(32),
        comment="of untested: off, few_calibration or few_reports (fewer patients than a test needs), "
        "failed, or killed (each process that read the sample was)",
    ),
    Column("calibration_patients", Integer, comment="patients of the calibration split that were compared"),
    Column("patients", Integer, comment="patients whose reports stood on the other side"),
    Column(
        "earlier_patients",
        Integer,
        comment="of these: by reports answered in the 30 days before, not the job's",
    ),
    Column("seen_in", String(16), comment="what tells the two sides apart best: vectors or words"),
    Column("auroc", Float, comment="how well it does; 0.5: not at all"),
    Column("p_value", Float, comment="how often alike populations would seem as different as these"),
    Column("level", Float, comment="scoring.shift_level: shifted where p_value lies below"),
    _count("tries", "processes that began the test; the second that dies over it is the last"),
    Column("leased_by", String(128), comment="the worker that tests: machine and process"),
    Column("leased_until", Instant, comment="when another may begin anew"),
    Column("at", Instant, comment="when it was decided"),
    _one_of("state", "due", "alike", "shifted", "untested"),
    CheckConstraint("tries >= 0", name="tries_not_negative"),
    comment="whether a job's reports, taken together, are like those that calibrated the model: once a job, "
    "before it is answered",
)

prediction = Table(
    "prediction",
    metadata,
    Column("model_id", ForeignKey("model.id"), primary_key=True, comment="the model that answered"),
    Column(
        "report_version_id",
        ForeignKey("report_version.id"),
        primary_key=True,
        comment="the content it answered for",
    ),
    Column("label", String(128), nullable=False, comment="the most probable label"),
    Column("probabilities", JSON, nullable=False, comment="label -> calibrated probability"),
    Column("decision", String(16), nullable=False, comment="auto, or review: a person must look"),
    Column("tokens_seen", Integer, nullable=False, comment="tokens the model read"),
    Column("tokens_total", Integer, nullable=False, comment="equal to tokens_seen unless the report was cut"),
    Column(
        "backend",
        String(32),
        nullable=False,
        comment="what computed it, such as torch-fp32, or would have where the report's vector was stored "
        "before; torch-fp32/model-12 where model 12, a student, did",
    ),
    Column("job_id", Id, nullable=False, comment="the job it was written for"),
    Column("chunk_seq", Integer, nullable=False, comment="the chunk of that job"),
    Column("fence", Integer, nullable=False, comment="the lease it was written under"),
    Column("at", Instant, nullable=False, comment="when it was written"),
    Column(
        "review_because",
        String(16),
        comment="unsure (the labels are not told apart), unfamiliar (unlike the training reports) or "
        "shifted (the model was sure, and its job's reports are unlike those that calibrated it: "
        "shift_test); null for auto, and for what was written before it was told",
    ),
    _one_of("decision", "auto", "review"),
    ForeignKeyConstraint(["job_id", "chunk_seq"], ["score_chunk.job_id", "score_chunk.seq"]),
    Index("ix_prediction_report_version_id", "report_version_id"),
    comment="exactly one row a (report version, model)",
)

evidence = Table(
    "evidence",
    metadata,
    Column("model_id", Id, primary_key=True, autoincrement=False, comment="the model that answered"),
    Column(
        "report_version_id", Id, primary_key=True, autoincrement=False, comment="the content it answered for"
    ),
    Column(
        "begins",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="the passage's first character in report_version.text, counted from 0",
    ),
    Column("ends", Integer, nullable=False, comment="the character after its last"),
    Column(
        "score",
        Float,
        nullable=False,
        comment="the passage's share of the label's log odds, in nats; below 0: it speaks against",
    ),
    Column("method", String(16), nullable=False, comment="how it was computed, such as integrated-1"),
    Column("at", Instant, nullable=False, comment="when it was computed: once, when it was first asked for"),
    CheckConstraint("begins >= 0 AND ends > begins", name="stands_somewhere"),
    ForeignKeyConstraint(
        ["model_id", "report_version_id"], ["prediction.model_id", "prediction.report_version_id"]
    ),
    comment="the sentences of a report and what each did for an answer: places and scores, never text",
)

feature = Table(
    "feature",
    metadata,
    Column("encoder_sha", String(64), primary_key=True, comment="the encoder: model.encoder_sha"),
    Column(
        "report_version_id",
        ForeignKey("report_version.id"),
        primary_key=True,
        comment="the content it stands for",
    ),
    Column("vector", LargeBinary, nullable=False, comment="what the head reads: float32, little-endian"),
    Column("tokens_seen", Integer, nullable=False, comment="tokens the encoder read"),
    Column("tokens_total", Integer, nullable=False, comment="equal to tokens_seen unless the report was cut"),
    Column("created_at", Instant, nullable=False, comment="when it was computed"),
    Column(
        "sketch",
        LargeBinary,
        comment="hashes of some of its pairs of words: whether it is like the training reports; null where "
        "it was computed before they were kept, or its text was emptied since",
    ),
    Index("ix_feature_report_version_id", "report_version_id"),
    comment="a report version as an encoder sees it, so that a new head costs no encoding",
)

metric = Table(
    "metric",
    metadata,
    Column("id", Id, primary_key=True, comment="its number, in the order of measuring"),
    Column("run_id", ForeignKey("run.id"), nullable=False, comment="the run that measured it"),
    Column(
        "model_id",
        ForeignKey("model.id"),
        comment="the model it is about, or beside which a baseline was measured",
    ),
    Column("subject", String(64), nullable=False, comment="model, or a baseline such as tfidf_word"),
    Column("population", String(64), nullable=False, comment="whose reports: holdout, source, backlog..."),
    Column(
        "slice",
        String(320),
        nullable=False,
        server_default="all",
        comment="all, or a part such as label=maligno",
    ),
    Column("name", String(64), nullable=False, comment="auroc_report, sensitivity, ece..."),
    Column("value", Float, comment="null where it cannot be computed"),
    Column("low", Float, comment="lower end of the 95 % bootstrap interval over patients"),
    Column("high", Float, comment="upper end of that interval"),
    Column("n", Integer, nullable=False, comment="reports (or patients, for *_patient) it stands on"),
    Column("at", Instant, nullable=False, comment="when it was measured"),
    Index("ix_metric_model_id", "model_id"),
    Index("ix_metric_run_id", "run_id"),
    comment="every figure, with its interval",
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True, comment="its number, in the order of the chain"),
    Column("at", Instant, nullable=False, comment="when it was done"),
    Column("actor", String(64), nullable=False, comment="who did it: a step's name, or a person's login"),
    Column(
        "action",
        String(64),
        nullable=False,
        comment="what was done: promoted, refused, rolled_back, tainted...",
    ),
    Column("subject", String(128), nullable=False, comment="what it was done to, such as model 3"),
    Column("detail", JSON, nullable=False, comment="ids and counts, as JSON"),
    Column(
        "previous_sha",
        String(64),
        nullable=False,
        comment="the row before: altering one breaks the chain",
    ),
    Column("sha", String(64), nullable=False, unique=True, comment="sha256 over this row and previous_sha"),
    comment="who did what, hash-chained",
)

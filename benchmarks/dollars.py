"""What ten million reports cost: on processors, on a GPU, and by an LLM's API, at stated prices.

    python -m benchmarks.dollars                                a minute or two of one core
    python -m benchmarks.dollars --machine 0.20 --cores 8       at your own price an hour
    python -m benchmarks.dollars --gpu-tokens-per-s 400000      where somebody measured a GPU

Measured here: tokens a second on one core, on OpenVINO in full precision where it is installed, else on torch
(the networks and reports of `benchmarks.backends`). Everything else is stated below, with who says so and
when; prices change, and those of machines can be given.

A core that is rented is taken to be as fast as this one. A GPU's speed is not measured here: without one, the
table says how many tokens a second it must read to cost what processors cost. An LLM reads each report behind
instructions, and answers in few tokens; what it thinks before it answers, which is billed as an answer, is
left out in its favour. Nothing is said of how well any of them reads, nor of what sending reports away may
cost.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.backends import SHIPPED, Ground, ground
from benchmarks.record import Figure, expecting, write
from tasks.ml.network.backends import REFERENCE, why_not

COMMAND = "python -m benchmarks.dollars"
REPORTS = 10_000_000
TRIED = {"minilm": 48, "base": 12}  # reports read to know a network's speed

# written down before the first run
EXPECTED = {
    "dollars_processors_minilm": "5 to 10",
    "dollars_processors_base": "30 to 60",
    "dollars_gpt-5-nano_batch": "140: the cheapest there is, and dearer than either",
}


@dataclass(frozen=True)
class Machine:
    """Rented by the hour. `cores` are of the processor itself: two of a cloud's "vCPUs" are one."""

    name: str
    dollars_per_hour: float
    cores: int
    source: str


@dataclass(frozen=True)
class Api:
    """Paid by the token: dollars for a million read, and for a million written."""

    name: str
    read: float
    written: float
    source: str

    def dollars(self, reports: int, read_tokens: int, written_tokens: int) -> float:
        return reports * (read_tokens * self.read + written_tokens * self.written) / 1e6


PROCESSORS = Machine(
    "c5.2xlarge",
    0.34,
    4,
    "docs.aws.amazon.com, EC2 Auto Scaling: on-demand in its example, read November 2026",
)
GPU = Machine(
    "g5.xlarge", 1.006, 1, "factualminds.com, EC2 on-demand pricing, us-east-1, 17 June 2026: one NVIDIA A10G"
)
APIS = (
    Api(
        "gpt-5-nano", 0.05, 0.40,
        "developers.openai.com/api/docs/models/gpt-5-nano, read November 2026, when it was marked deprecated",
    ),
    Api("claude-haiku-4.5", 1.0, 5.0, "anthropic.com/pricing as of June 2026, kept by docs.rs/synaps 0.3.3"),
)  # fmt: skip
BATCH = 0.5  # both charge half where the answer may take a day


def tokens_per_s(of: Ground) -> float:
    """Tokens a second of this process's processor time, on the back end that laudos would take."""
    backend = SHIPPED if why_not(SHIPPED) is None else REFERENCE
    read = of.on(backend)
    read()  # compiles
    begun = time.process_time()
    read()
    return sum(of.lengths) / (time.process_time() - begun)


def dollars_by_the_hour(machine: Machine, reports: int, report_tokens: int, tokens_per_s: float) -> float:
    """`tokens_per_s` is of one core, or of the GPU."""
    hours = reports * report_tokens / (tokens_per_s * machine.cores) / 3600
    return hours * machine.dollars_per_hour


def table(asked: argparse.Namespace, speed: dict[str, float]) -> dict[str, Figure]:
    processors = Machine("processors", asked.machine, asked.cores, PROCESSORS.source)
    gpu = Machine("GPU", asked.gpu, 1, GPU.source)
    figures: dict[str, Figure] = {}
    for size, per_s in speed.items():
        figures[f"tokens_per_s_{size}"] = Figure(per_s, "tokens a second of a core")
        cost = dollars_by_the_hour(processors, REPORTS, asked.report_tokens, per_s)
        figures[f"dollars_processors_{size}"] = Figure(cost, "$")
        as_dear = gpu.dollars_per_hour / processors.dollars_per_hour * processors.cores * per_s
        figures[f"gpu_as_dear_{size}"] = Figure(as_dear, "tokens a second, from which on the GPU is cheaper")
    if asked.gpu_tokens_per_s:
        cost = dollars_by_the_hour(gpu, REPORTS, asked.report_tokens, asked.gpu_tokens_per_s)
        figures["dollars_gpu"] = Figure(cost, "$")
    read = asked.prompt_tokens + asked.report_tokens
    for api in APIS:
        cost = api.dollars(REPORTS, read, asked.answer_tokens)
        figures[f"dollars_{api.name}"] = Figure(cost, "$")
        figures[f"dollars_{api.name}_batch"] = Figure(BATCH * cost, "$")
    return expecting(figures, EXPECTED)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--report-tokens", type=int, default=300, help="of a report, on average")
    add("--prompt-tokens", type=int, default=200, help="instructions before each report, for an API")
    add("--answer-tokens", type=int, default=10, help="of an API's answer")
    add("--machine", type=float, default=PROCESSORS.dollars_per_hour, help="dollars an hour for processors")
    add("--cores", type=int, default=PROCESSORS.cores, help="cores of that machine")
    add("--gpu", type=float, default=GPU.dollars_per_hour, help="dollars an hour for a GPU")
    add("--gpu-tokens-per-s", type=float, help="what it was measured to read")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    speed = {size: tokens_per_s(ground(size, reports)) for size, reports in TRIED.items()}
    figures = table(asked, speed)
    for name, figure in figures.items():
        print(f"{name:35} {figure.value:12,.2f} {figure.unit}")
    for what in (PROCESSORS, GPU, *APIS):
        print(f"{what.name}: {what.source}")
    if asked == parser.parse_args([]):
        print(f"wrote {write('dollars', COMMAND, figures)}")


if __name__ == "__main__":
    main()

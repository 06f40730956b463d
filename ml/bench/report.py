"""What the bench found: a table, a picture, a file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from ml.console import WholeTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Section = Literal["comparison", "training", "workers", "recorded", "radio", "sizes"]
"""Parts of the bench: the lettered comparison; a training with everything on beside its ceiling;
environment and training by 1, 2, 4 … workers; recorded traffic beside the environment; the radio
alone; the environment over batch sizes and numbers of peers."""

SECTIONS: Final[tuple[Section, ...]] = get_args(Section)


@dataclass(frozen=True, slots=True)
class Measured:
    """Something measured once a round; of a workload, its environment steps per second."""

    name: str
    values: list[float]

    @property
    def typical(self) -> float:
        """The median round."""
        return median(self.values)


@dataclass(frozen=True, slots=True)
class Goal(Measured):
    """Something measured, and the bound that is wanted of its median; lower where `at_most`."""

    wanted: float
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether the median keeps the bound."""
        return self.typical <= self.wanted if self.at_most else self.typical >= self.wanted

    def row(self) -> tuple[str, str, str, str, str]:
        """Return name, median, range, bound and verdict for a table."""
        return (
            self.name,
            f"{self.typical:.2f}",
            f"{min(self.values):.2f}–{max(self.values):.2f}",
            f"{'≤' if self.at_most else '≥'} {self.wanted:g}",
            "ok" if self.reached else "missed",
        )


def ratio(
    name: str, above: list[float], below: list[float], wanted: float, *, at_most: bool = False
) -> Goal:
    """Divide round by round; the median of quotients shrugs off a machine that drifts."""
    return Goal(name, [a / b for a, b in zip(above, below, strict=True)], wanted, at_most)


@dataclass(frozen=True, slots=True)
class BenchReport:
    """All that was measured; what was not is empty.

    Attributes:
        num_envs: Convoys of all but `cost_us`.
        num_peers: Peers of the comparison, and of the radio alone.
        radio: Preset or parameter file.
        workloads: In the order of the letters.
        ratios: Quotients of two workloads, in the order of the table of goals.
        radio_costs: What `transmit` and `deliver` cost together, µs per convoy and tick, without
            relays and with them; the bounds are for 64 convoys of 6 nodes.
        workers: Number → steps per second of the environment and of a training run, medians.
        cost_us: (num_envs, num_peers) → µs per environment step, median.
    """

    num_envs: int
    num_peers: int
    radio: str
    workloads: list[Measured] = field(default_factory=list)
    ratios: list[Goal] = field(default_factory=list)
    radio_costs: list[Goal] = field(default_factory=list)
    workers: dict[int, tuple[float, float]] = field(default_factory=dict)
    cost_us: dict[tuple[int, int], float] = field(default_factory=dict)

    def tables(self) -> list[WholeTable]:
        """Build the console tables of what was measured."""
        size = f"{self.num_envs} convoys of"
        sizes = sorted({size for size, _ in self.cost_us})
        peers = sorted({peer for _, peer in self.cost_us})
        tables = [
            WholeTable(
                *("workload", ">median", ">lowest", ">highest"),
                title=f"environment steps per second, {size} {self.num_peers} peers",
                rows=[
                    (r.name, *(f"{x:,.0f}" for x in (r.typical, min(r.values), max(r.values))))
                    for r in self.workloads
                ],
            ),
            WholeTable(
                *("ratio", ">median", ">range", ">goal", ">"),
                title="ratios, paired round by round",
                rows=[ratio.row() for ratio in self.ratios],
            ),
            WholeTable(
                *("transmit and deliver", ">median", ">range", ">goal", ">"),
                title=f"the radio alone: µs per convoy and tick, {size} {self.num_peers + 1} "
                f"nodes, radio {self.radio}",
                rows=[cost.row() for cost in self.radio_costs],
            ),
            WholeTable(
                *("convoys", *(f">{peer} peers" for peer in peers)),
                title="µs per environment step",
                rows=[(str(n), *(f"{self.cost_us[n, peer]:.1f}" for peer in peers)) for n in sizes],
            ),
        ]
        return [table for table in tables if table.row_count]

    def as_json(self) -> dict[str, Any]:
        """Build what `--json` writes."""
        return {
            "num_envs": self.num_envs,
            "num_peers": self.num_peers,
            "radio": self.radio,
            "workloads": [
                {"name": run.name, "steps_per_s": run.values, "median": run.typical}
                for run in self.workloads
            ],
            "ratios": [
                {
                    "name": ratio.name,
                    "value": ratio.typical,
                    "low": min(ratio.values),
                    "high": max(ratio.values),
                    "wanted": ratio.wanted,
                    "at_most": ratio.at_most,
                    "reached": ratio.reached,
                }
                for ratio in self.ratios
            ],
            "radio_costs": [
                {
                    "name": cost.name,
                    "us": cost.values,
                    "wanted_us": cost.wanted,
                    "median_us": cost.typical,
                    "reached": cost.reached,
                }
                for cost in self.radio_costs
            ],
            "cost_us": [
                {"num_envs": size, "num_peers": peers, "us_per_step": cost}
                for (size, peers), cost in self.cost_us.items()
            ],
        }

    def draw(self, file: Path) -> None:
        """Draw what was measured: throughput, the radio's cost, cost by batch size."""
        from ml.reports.style import house_style, new_figure, save_picture  # noqa: PLC0415

        kinds = (
            (self.workloads, self._draw_workloads),
            (self.workers, self._draw_workers),
            (self.radio_costs, self._draw_radio),
            (self.cost_us, self._draw_costs),
        )
        draws = [draw for measured, draw in kinds if measured]
        with house_style():
            figure = new_figure(6.5 * len(draws), 4.8)
            panels = figure.subplots(1, len(draws), squeeze=False)[0]
            for draw, panel in zip(draws, panels, strict=True):
                draw(panel)
            save_picture(figure, file, dpi=110)

    def _draw_workloads(self, axes: Axes) -> None:
        names = [run.name for run in self.workloads]
        values = [run.typical for run in self.workloads]
        bars = axes.barh(names, values, color="#3b6ea5")
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=4)
        axes.set(xscale="log", xlabel="environment steps per second (log scale)")
        # Whole decades, so that the bars of few and similar workloads are not cut short.
        axes.set_xlim(10.0 ** math.floor(math.log10(min(values))), max(values) * 8)
        axes.minorticks_off()
        axes.invert_yaxis()
        axes.set_title(f"{self.num_envs} convoys of {self.num_peers} peers, radio {self.radio}")

    def _draw_workers(self, axes: Axes) -> None:
        counts = sorted(self.workers)
        for place, name in enumerate(("the environment", "training")):
            rates = [self.workers[count][place] for count in counts]
            axes.plot(counts, rates, marker="o", label=name)
            for count, rate in zip(counts, rates, strict=True):
                label = f"{rate:,.0f}, ×{rate / rates[0]:.2f}"
                axes.annotate(label, (count, rate), xytext=(6, 6), textcoords="offset points")
        axes.set(xlabel="workers", ylabel="environment steps per second")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_xlim(0.5, 1.5 * counts[-1])
        axes.set_ylim(0.0, 1.25 * max(max(rates) for rates in self.workers.values()))
        axes.grid(visible=True, alpha=0.3)
        axes.set_title("workers, on as many cores")
        axes.legend(loc="lower right")

    def _draw_radio(self, axes: Axes) -> None:
        names = [cost.name for cost in self.radio_costs]
        goals = [cost.wanted for cost in self.radio_costs]
        values = [cost.typical for cost in self.radio_costs]
        axes.barh(names, goals, color="#d9d9d9", label="goal: at most")
        bars = axes.barh(names, values, height=0.5, color="#3b6ea5", label="measured")
        axes.bar_label(bars, [f"{value:.1f}" for value in values], padding=4)
        axes.set(xlabel="µs per convoy and tick")
        axes.set_xlim(right=1.2 * max(values + goals))
        axes.invert_yaxis()
        axes.set_title(f"the radio alone, {self.num_envs} convoys of {self.num_peers + 1} nodes")
        axes.legend()

    def _draw_costs(self, axes: Axes) -> None:
        for peers in sorted({peer for _, peer in self.cost_us}):
            points = sorted((n, cost) for (n, peer), cost in self.cost_us.items() if peer == peers)
            axes.plot(*zip(*points, strict=True), marker="o", label=f"{peers} peers")
        sizes = sorted({size for size, _ in self.cost_us})
        axes.set(xscale="log", yscale="log", xlabel="convoys in the batch", ylabel="µs per step")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.grid(visible=True, alpha=0.3)
        axes.set_title("cost of an environment step")
        axes.legend()

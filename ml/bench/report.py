"""What the bench found: a table, a picture, a file."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from ml.console import WholeTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

Section = Literal["comparison", "training", "radio", "sizes"]
"""Parts of the bench: the lettered comparison; a training with everything on beside its ceiling;
the radio alone; the environment over batch sizes and numbers of peers."""

SECTIONS: Final[tuple[Section, ...]] = get_args(Section)


@dataclass(frozen=True, slots=True)
class Throughput:
    """Environment steps per second of one workload, a value per round."""

    name: str
    steps_per_s: list[float]

    @property
    def typical(self) -> float:
        """The median round."""
        return median(self.steps_per_s)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quotient of two workloads, paired round by round, and what is wanted of it.

    Attributes:
        name: What it compares.
        value: Median over the rounds.
        low: Smallest round.
        high: Largest round.
        wanted: The bound.
        at_most: Whether the bound is an upper one.
    """

    name: str
    value: float
    low: float
    high: float
    wanted: float
    at_most: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        above: Sequence[float],
        below: Sequence[float],
        wanted: float,
        *,
        at_most: bool = False,
    ) -> Ratio:
        """Divide round by round; the median of quotients shrugs off a machine that drifts."""
        values = [a / b for a, b in zip(above, below, strict=True)]
        return cls(name, median(values), min(values), max(values), wanted, at_most)

    @property
    def reached(self) -> bool:
        """Whether the median keeps the bound."""
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


@dataclass(frozen=True, slots=True)
class RadioCost:
    """What `transmit` and `deliver` cost together, µs per convoy and tick, a value per round.

    Attributes:
        name: Of the radio.
        us: The values.
        wanted_us: The upper bound wanted of the median, at 64 convoys of 6 nodes.
    """

    name: str
    us: list[float]
    wanted_us: float

    @property
    def typical_us(self) -> float:
        """The median round."""
        return median(self.us)

    @property
    def reached(self) -> bool:
        """Whether the median keeps the bound."""
        return self.typical_us <= self.wanted_us


@dataclass(frozen=True, slots=True)
class BenchReport:
    """All that was measured; what was not is empty.

    Attributes:
        num_envs: Convoys of all but `cost_us`.
        num_peers: Peers of the comparison, and of the radio alone.
        radio: Preset or parameter file.
        workloads: In the order of the letters.
        ratios: In the order of the table of goals.
        radio_costs: Of the radio alone, without relays and with them.
        cost_us: (num_envs, num_peers) → µs per environment step, median.
    """

    num_envs: int
    num_peers: int
    radio: str
    workloads: list[Throughput] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    radio_costs: list[RadioCost] = field(default_factory=list)
    cost_us: dict[tuple[int, int], float] = field(default_factory=dict)

    def tables(self) -> list[WholeTable]:
        """Build the console tables of what was measured."""
        tables = []
        if self.workloads:
            tables.append(self._table_of_workloads())
        if self.ratios:
            tables.append(self._table_of_ratios())
        if self.radio_costs:
            tables.append(self._table_of_radio())
        if self.cost_us:
            tables.append(self._table_of_sizes())
        return tables

    def _table_of_workloads(self) -> WholeTable:
        rates = WholeTable(
            title=f"environment steps per second, {self.num_envs} convoys of {self.num_peers} peers"
        )
        for column in ("workload", "median", "lowest", "highest"):
            rates.add_column(column, justify="left" if column == "workload" else "right")
        for run in self.workloads:
            values = (run.typical, min(run.steps_per_s), max(run.steps_per_s))
            rates.add_row(run.name, *(f"{value:,.0f}" for value in values))
        return rates

    def _table_of_ratios(self) -> WholeTable:
        ratios = WholeTable(title="ratios, paired round by round")
        for column in ("ratio", "median", "range", "goal", ""):
            ratios.add_column(column, justify="left" if column == "ratio" else "right")
        for ratio in self.ratios:
            sign = "≤" if ratio.at_most else "≥"
            ratios.add_row(
                ratio.name,
                f"{ratio.value:.2f}",
                f"{ratio.low:.2f}–{ratio.high:.2f}",
                f"{sign} {ratio.wanted:g}",
                "ok" if ratio.reached else "missed",
            )
        return ratios

    def _table_of_radio(self) -> WholeTable:
        table = WholeTable(
            title="the radio alone: µs per convoy and tick, "
            f"{self.num_envs} convoys of {self.num_peers + 1} nodes, radio {self.radio}"
        )
        for column in ("transmit and deliver", "median", "range", "goal", ""):
            table.add_column(
                column, justify="left" if column == "transmit and deliver" else "right"
            )
        for cost in self.radio_costs:
            table.add_row(
                cost.name,
                f"{cost.typical_us:.2f}",
                f"{min(cost.us):.2f}–{max(cost.us):.2f}",
                f"≤ {cost.wanted_us:g}",
                "ok" if cost.reached else "missed",
            )
        return table

    def _table_of_sizes(self) -> WholeTable:
        sizes = sorted({size for size, _ in self.cost_us})
        peers = sorted({peer for _, peer in self.cost_us})
        costs = WholeTable(title="µs per environment step")
        costs.add_column("convoys")
        for peer in peers:
            costs.add_column(f"{peer} peers", justify="right")
        for size in sizes:
            costs.add_row(str(size), *(f"{self.cost_us[size, peer]:.1f}" for peer in peers))
        return costs

    def as_json(self) -> dict[str, Any]:
        """Build what `--json` writes."""
        return {
            "num_envs": self.num_envs,
            "num_peers": self.num_peers,
            "radio": self.radio,
            "workloads": [asdict(run) | {"median": run.typical} for run in self.workloads],
            "ratios": [asdict(ratio) | {"reached": ratio.reached} for ratio in self.ratios],
            "radio_costs": [
                asdict(cost) | {"median_us": cost.typical_us, "reached": cost.reached}
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

        panels = [
            draw
            for measured, draw in (
                (self.workloads, self._draw_workloads),
                (self.radio_costs, self._draw_radio),
                (self.cost_us, self._draw_costs),
            )
            if measured
        ]
        with house_style():
            figure = new_figure(6.5 * len(panels), 4.8)
            axes = figure.subplots(1, len(panels), squeeze=False)[0]
            for draw, panel in zip(panels, axes, strict=True):
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

    def _draw_radio(self, axes: Axes) -> None:
        names = [cost.name for cost in self.radio_costs]
        goals = [cost.wanted_us for cost in self.radio_costs]
        values = [cost.typical_us for cost in self.radio_costs]
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

"""What the bench found: a table, a picture, a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes


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
class BenchReport:
    """All workloads, all ratios, and the environment's cost over batch and convoy size.

    Attributes:
        num_envs: Convoys of the main comparison.
        num_peers: Peers of the main comparison.
        radio: Its radio.
        workloads: In the order of the letters.
        ratios: In the order of the table of goals.
        cost_us: (num_envs, num_peers) → µs per environment step, median.
    """

    num_envs: int
    num_peers: int
    radio: str
    workloads: list[Throughput]
    ratios: list[Ratio]
    cost_us: dict[tuple[int, int], float]

    def tables(self) -> list[Table]:
        """Build the console tables."""
        rates = Table(
            title=f"environment steps per second, {self.num_envs} convoys of {self.num_peers} peers"
        )
        for column in ("workload", "median", "lowest", "highest"):
            rates.add_column(column, justify="left" if column == "workload" else "right")
        for run in self.workloads:
            values = (run.typical, min(run.steps_per_s), max(run.steps_per_s))
            rates.add_row(run.name, *(f"{value:,.0f}" for value in values))

        ratios = Table(title="ratios, paired round by round")
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

        sizes = sorted({size for size, _ in self.cost_us})
        peers = sorted({peer for _, peer in self.cost_us})
        costs = Table(title="µs per environment step")
        costs.add_column("convoys")
        for peer in peers:
            costs.add_column(f"{peer} peers", justify="right")
        for size in sizes:
            costs.add_row(str(size), *(f"{self.cost_us[size, peer]:.1f}" for peer in peers))
        return [rates, ratios, costs] if self.cost_us else [rates, ratios]

    def as_json(self) -> dict[str, Any]:
        """Build what `--json` writes."""
        return {
            "num_envs": self.num_envs,
            "num_peers": self.num_peers,
            "radio": self.radio,
            "workloads": [asdict(run) | {"median": run.typical} for run in self.workloads],
            "ratios": [asdict(ratio) | {"reached": ratio.reached} for ratio in self.ratios],
            "cost_us": [
                {"num_envs": size, "num_peers": peers, "us_per_step": cost}
                for (size, peers), cost in self.cost_us.items()
            ],
        }

    def draw(self, file: Path) -> None:
        """Draw throughput by workload and cost by batch size."""
        import matplotlib as mpl  # noqa: PLC0415 (slow to import, and only drawing needs it)

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415

        panels = 2 if self.cost_us else 1
        figure, axes = plt.subplots(
            1, panels, figsize=(6.5 * panels, 4.8), layout="constrained", squeeze=False
        )
        self._draw_workloads(axes[0, 0])
        if self.cost_us:
            self._draw_costs(axes[0, 1])
        figure.savefig(file, dpi=110)
        plt.close(figure)

    def _draw_workloads(self, axes: Axes) -> None:
        names = [run.name for run in self.workloads]
        values = [run.typical for run in self.workloads]
        bars = axes.barh(names, values, color="#3b6ea5")
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=4)
        axes.set(xscale="log", xlabel="environment steps per second (log scale)")
        axes.set_xlim(right=max(values) * 8)
        axes.invert_yaxis()
        axes.set_title(f"{self.num_envs} convoys of {self.num_peers} peers, radio {self.radio}")

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

"""The smaller tables of the calibration: what has no interval of an effect.

Interquartile means; controls of the gates; rank probabilities, and the sets of ranks that they make; the registered
kinds of claims; failures that few seeds cannot see; how the coverage depends on the share of the seeds in the variance
where everything is normal; and tasks that are variants of one another.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from types import MappingProxyType

import numpy as np

from experiments.benchmarks.calibration_cells import (
    COLLAPSES,
    EIGHT,
    ITEMS,
    NULL,
    TWENTY_FOUR,
    USUAL,
    WEAK,
    failing,
)
from experiments.benchmarks.simulated_sweeps import SimulatedWorld, World, simulated_sweep
from harness.designs import design
from harness.factors import Arm
from harness.fixes.registry import note
from harness.records.load import RecordedRun, SweepRecords
from harness.records.schema import StepRecord, ValidationRecord
from harness.stats.claims import CONFIRMED, REFUTED, Claim, Part, verdicts
from harness.stats.contrasts import Contrast, all_contrasts
from harness.stats.effects import Effect, estimate_family, gate_checks, joint_draws
from harness.stats.intervals import by_group, crossed_spread
from harness.stats.measured import Measured, measure
from harness.stats.outcomes import OUTCOMES, Outcomes, step_weights
from harness.stats.profiles import interquartile_mean, iqm_triple
from harness.stats.ranking import kendall, rank_probabilities
from harness.stats.unseen_failures import PATH as FAILURES
from harness.stats.verdicts import could_miss

NOTE = note()
TINY = 1e-9
WORLDS: dict[str, World] = {
    "usual": USUAL,
    "null": NULL,
    "item response": ITEMS,
    "recorded 8 steps": EIGHT,
    "recorded 24 steps": TWENTY_FOUR,
}
Row = tuple[str, ...]
Array = np.ndarray


def share(part: float, whole: int) -> str:
    """In per cent, with twice its Monte-Carlo error; where nothing or everything happened, what 5 % could still be."""
    if not whole:
        return "–"
    p = part / whole
    error = 2 * (p * (1 - p) / whole) ** 0.5 if 0 < p < 1 else 3 / whole
    return f"{100 * p:.1f} ± {100 * error:.1f} %"


def leave_one_out(arms: Sequence[Arm]) -> list[Contrast]:
    contrasts = all_contrasts(NOTE, arms, [True] * len(arms), [NOTE.no_update(arm) for arm in arms])
    return [c for c in contrasts if c.kind == "leave_one_out"]


def iqm_rows(sweeps: int, seed: int) -> Iterator[Row]:
    """Coverage of the interval of an arm's interquartile mean. The truth is that of a very large sweep."""
    arms = [NOTE.with_off(), NOTE.with_off("reward")]
    for (name, world), seeds in product((("usual", USUAL), ("weak", WEAK), ("collapses", COLLAPSES)), (3, 5)):
        random = np.random.default_rng([seed, 101, seeds])
        large, _ = simulated_sweep(NOTE, arms, replace(world, tasks=1000), 1000, random)
        true = [float(interquartile_mean(scores.ravel())) for scores in large.of("area")]
        held = 0
        for _ in range(sweeps):
            made, _ = simulated_sweep(NOTE, arms, world, seeds, random)
            for value, scores in zip(true, made.of("area"), strict=True):
                _, low, high = iqm_triple(scores)
                held += low - TINY <= value <= high + TINY
        yield name, str(seeds), share(held, len(arms) * sweeps)


def gate_rows(sweeps: int, seed: int) -> Iterator[Row]:
    """How often the controls refute sealed gates: where they are sealed (an error), and where one leaks."""
    arms = design("gate_aware", NOTE)
    anew = replace(USUAL, repeats=False)
    worlds = (("sealed, episodes repeated", USUAL), ("sealed, episodes sampled anew", anew),
              ("30 % of the gain leaks", replace(anew, leak=0.3)))  # fmt: skip
    for (name, world), seeds in product(worlds, (1, 3, 5)):
        random = np.random.default_rng([seed, 102, seeds])
        refuted = dict.fromkeys(OUTCOMES, 0)
        for _ in range(sweeps):
            made, _ = simulated_sweep(NOTE, arms, world, seeds, random)
            for outcome in OUTCOMES:
                refuted[outcome] += any(c.holds is False for c in gate_checks(made, outcome))
        yield name, str(seeds), *(share(refuted[o], sweeps) for o in OUTCOMES)


BINS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0 + TINY)


def rank_rows(sweeps: int, seed: int) -> Iterator[Row]:
    """Rank probabilities against the true ranks, in worlds whose effects are drawn anew for every sweep."""
    for name, seeds in product(("usual", "item response"), (1, 2, 3, 5)):
        world = WORLDS[name]
        predicted, realised = ranks(world, seeds, sweeps, np.random.default_rng([seed, 103, seeds, len(name)]))
        for low, high in pairwise(BINS):
            inside = (predicted >= low) & (predicted < high)
            if inside.any():
                means = (f"{100 * x[inside].mean():.1f} %" for x in (predicted, realised))
                yield name, str(seeds), f"{100 * low:.0f}-{100 * min(high, 1):.0f} %", str(int(inside.sum())), *means


def ranks(world: World, seeds: int, sweeps: int, random: np.random.Generator) -> tuple[Array, Array]:
    """(sweeps, F, F) stated probabilities of each rank, and the true ranks as shares."""
    arms = design("leave_one_out", NOTE)
    family = leave_one_out(arms)
    said, is_true = [], []
    for _ in range(sweeps):
        if world in (USUAL, ITEMS):
            shares = zip(("endpoint", "tools", "reward"), random.random(3).tolist(), strict=True)
            drawn: World = replace(world, off=tuple(shares))
        else:
            drawn = world
        made, true_A_S = simulated_sweep(NOTE, arms, drawn, seeds, random)
        joint = joint_draws([m for c in family if isinstance(m := measure(made, c, "final"), Measured)])
        assert joint is not None, "planted sweeps have all their runs"
        said.append(rank_probabilities(joint.draws_F_B))
        is_true.append(rank_probabilities(np.array([[c.weights_A @ true_A_S[:, -1]] for c in family])))
    return np.array(said), np.array(is_true)


def rank_set_rows(sweeps: int, seed: int) -> Iterator[Row]:
    """The smallest set of ranks of a fix with a stated probability of 95 %: how often the true rank lies outside."""
    for name, seeds in product(("usual", "item response", "recorded 8 steps", "recorded 24 steps"), (2, 3, 5)):
        world = WORLDS[name]
        said, is_true = ranks(world, seeds, sweeps, np.random.default_rng([seed, 105, seeds, len(name)]))
        order = np.argsort(-said, axis=2, kind="stable")
        before = np.cumsum(np.take_along_axis(said, order, axis=2), axis=2) - np.take_along_axis(said, order, axis=2)
        is_in = before < 0.95 - TINY
        inside = (np.take_along_axis(is_true, order, axis=2) * is_in).sum(axis=2) > TINY  # one of its tied ranks
        first = [np.take_along_axis(x, said.argmax(axis=1)[:, None, :], axis=1)[:, 0, 0] for x in (said, is_true)]
        yield (
            name, str(seeds), clustered(1 - inside.mean(axis=1)), f"{is_in.sum(axis=2).mean():.1f} of {said.shape[1]}",
            f"{100 * first[0].mean():.0f} %", clustered(first[1]),
        )  # fmt: skip


def unequal_rows(sweeps: int, seed: int) -> Iterator[Row]:
    """Two fixes that are worth the same, where the second one's arm lacks runs: what is said of the first rank."""
    equal = replace(USUAL, off=(("endpoint", 0.5), ("tools", 0.5)))
    worlds = (("usual", equal, ("endpoint", "tools")), ("two gates", USUAL, ("exploration", "logprobs")))
    for (name, world, fixes), (seeds, lacks) in product(worlds, ((3, 0), (3, 1), (5, 0), (5, 1), (5, 2), (10, 1))):
        arms = [NOTE.with_off(), *(NOTE.with_off(fix) for fix in fixes)]
        family = [c for c in leave_one_out(arms) if c.factors[0] in fixes]
        random, first = np.random.default_rng([seed, 108, seeds, lacks, len(name)]), []
        for _ in range(sweeps):
            made, _ = simulated_sweep(NOTE, arms, world, seeds, random)
            made.counted_A_N[2, :lacks] = False
            made.rewards_A_N_S_T[2, :lacks] = np.nan
            joint = joint_draws([m for c in family if isinstance(m := measure(made, c, "final"), Measured)])
            assert joint is not None, "they share two seeds at least"
            first.append(rank_probabilities(joint.draws_F_B)[0, 0])
        sure = int((np.abs(np.array(first) - 0.5) >= 0.475).sum())
        yield name, str(seeds), str(lacks), f"{100 * np.mean(first):.0f} %", share(sure, sweeps)


def clustered(by_sweep: Array) -> str:
    """The mean of a share per sweep, with twice its Monte-Carlo error."""
    error = 2 * float(by_sweep.std(ddof=1)) / len(by_sweep) ** 0.5
    return f"{100 * float(by_sweep.mean()):.1f} ± {100 * max(error, 3 / len(by_sweep) / 2):.1f} %"


CLAIMED_IN = tuple(product(("usual", "item response", "null"), (2, 3, 5)))


def claim_rows(sweeps: int, seed: int, cells: Sequence[tuple[str, int]] = CLAIMED_IN) -> Iterator[Row]:
    """Parts of claims whose bound lies just beyond the truth, which is where a false verdict is likeliest, and claims
    about the order."""
    arms = design("leave_one_out", NOTE)
    for name, seeds in cells:
        world = WORLDS[name]
        random = np.random.default_rng([seed, 106, seeds, len(name)])
        _, true_A_S = simulated_sweep(NOTE, arms, world, seeds, random)
        claims, is_true = claims_at(arms, true_A_S, world.steps)
        found: dict[str, list[str]] = {c.id: [] for c in claims}
        for _ in range(sweeps):
            made, _ = simulated_sweep(NOTE, arms, world, seeds, random)
            for verdict in verdicts(as_records(made), claims):
                found[verdict.claim.id].append(verdict.verdict)
        for claim in claims:
            wrong = REFUTED if is_true[claim.id] else CONFIRMED
            yield (
                name, str(seeds), claim.id, "true" if is_true[claim.id] else "false",
                share(found[claim.id].count(wrong), sweeps),
                share(found[claim.id].count(CONFIRMED if is_true[claim.id] else REFUTED), sweeps),
            )  # fmt: skip


def claims_at(
    arms: Sequence[Arm], true_A_S: Array, steps: Sequence[int]
) -> tuple[tuple[Claim, ...], MappingProxyType[str, bool]]:
    """Claims about without_reward and the order of all fixes, with bounds next to the truth, and which are true."""
    names = [arm.name for arm in arms]
    rise = float((true_A_S[0] - true_A_S[names.index("without_reward")]) @ step_weights("rise", steps))
    area = float((true_A_S[0] - true_A_S[names.index("without_reward")]) @ step_weights("area", steps))
    effects = np.array([[c.weights_A @ true_A_S @ step_weights("area", steps)] for c in leave_one_out(arms)])
    order = tuple(c.factors[0] for c in leave_one_out(arms))
    tau = float(kendall(range(len(order)), effects)[0])

    def difference(metric: str, **bounds: float) -> Part:
        return Part("", metric, arm="all_on", minus="without_reward", interval=bounds)

    parts = {
        "at least a little more": (difference("reference_rise", at_least=rise + 1e-6), False),
        "at least a little less": (difference("reference_rise", at_least=rise - 1e-6), True),
        "area above 0": (difference("reference_area", above=0.0), area > TINY),
        "no change, ± .05": (difference("reference_rise", at_least=-0.05, at_most=0.05), abs(rise) <= 0.05),
        "order, tau a little more": (Part("", "ranking", order=order, interval={"at_least": tau + 1e-6}), False),
        "order, tau a little less": (Part("", "ranking", order=order, interval={"at_least": tau - 1e-6}), True),
    }  # fmt: skip
    claims = tuple(Claim(name, "", "", "", "", "", parts=(part,)) for name, (part, _) in parts.items())
    return claims, MappingProxyType({name: is_true for name, (_, is_true) in parts.items()})


def as_records(made: Outcomes) -> SweepRecords:
    """A planted sweep as one that was read: its validations alone."""
    runs = []
    for a, arm in enumerate(made.arms):
        for n, seed in enumerate(made.seeds):
            curve = [
                ValidationRecord(step, None, dict(zip(made.tasks, row.tolist(), strict=True)), 0, None, 0, 0)
                for step, row in zip(made.steps, made.rewards_A_N_S_T[a, n], strict=True)
            ]
            name = f"{arm.name}/seed={seed}"
            one_step = tuple(
                StepRecord(step=step, gradient_steps=int(not made.still_A[a]), update=f"{name} {step}")
                for step in made.steps[1:]
            )
            levels = arm.as_dict
            runs.append(
                RecordedRun(
                    name, arm.name, seed, levels, "completed", True, (), (), None, None, None,
                    one_step, tuple(curve), (), 0,
                )
            )  # fmt: skip
    manifest = {"factors": [factor.record() for factor in made.factors]}
    return SweepRecords("planted", Path(), manifest, made.factors.names, tuple(runs), {})


FAILING = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
SEEDS = (2, 3, 4, 5, 8, 10, 20)
Failures = dict[str, dict[str, dict[str, float]]]  # by outcome and number of seeds


def failure_rows(sweeps: int, seed: int) -> Iterator[Row]:
    """Coverage where some runs of one arm fall back to the base policy."""
    for outcome, by_seeds in unseen_failures(sweeps, seed).items():
        for seeds, cell in by_seeds.items():
            yield (
                outcome, seeds, f"{100 * could_miss(int(seeds)):.0f} %", f"{100 * cell['share']:.0f} %",
                f"{100 * cell['coverage']:.1f} ± {100 * cell['error']:.1f} %",
                f"{100 * (1 - cell['share']) ** int(seeds):.0f} %",
            )  # fmt: skip


@cache
def unseen_failures(sweeps: int, seed: int) -> Failures:
    """Of the shares of failing runs that so many seeds may not show, the one with which the intervals cover least, and
    what they cover there. It is chosen in one half of the sweeps and measured in the other."""
    arms = [NOTE.with_off(), NOTE.with_off("reward")]
    contrast = next(c for c in leave_one_out(arms) if c.factors == ("reward",))
    out: Failures = {outcome: {} for outcome in OUTCOMES}
    for seeds in SEEDS:
        held = {
            failed: _held(
                failing(failed, EIGHT), arms, contrast, seeds, sweeps, [seed, 107, seeds, round(100 * failed)]
            )
            for failed in FAILING
            if failed <= could_miss(seeds)
        }
        for outcome in OUTCOMES:
            chosen = min(held, key=lambda failed: held[failed][outcome][::2].mean())
            p = float(held[chosen][outcome][1::2].mean())
            error = 2 * (p * (1 - p) / max(sweeps // 2, 1)) ** 0.5
            out[outcome][str(seeds)] = {"share": chosen, "coverage": p, "error": error}
    return out


def _held(
    world: World, arms: Sequence[Arm], contrast: Contrast, seeds: int, sweeps: int, seed: Sequence[int]
) -> dict[str, Array]:
    """By outcome: of each sweep whether the 95 % interval, the means that the test does not reject, holds the truth."""
    random, held = np.random.default_rng(seed), np.zeros((len(OUTCOMES), sweeps))
    for number in range(sweeps):
        made, true_A_S = simulated_sweep(NOTE, arms, world, seeds, random)
        for row, outcome in zip(held, OUTCOMES, strict=True):
            found = measure(made, contrast, outcome)
            assert isinstance(found, Measured)
            true = float(contrast.weights_A @ true_A_S @ step_weights(outcome, world.steps))
            row[number] = replace(found.spread, mean=found.spread.mean - true).p_value > 0.05
    return dict(zip(OUTCOMES, held, strict=True))


def write_failures(found: Failures, sweeps: int, seed: int, path: Path = FAILURES) -> None:
    """The file that reports read."""
    outcomes = {
        outcome: {n: {key: round(value, 4) for key, value in cell.items()} for n, cell in by_seeds.items()}
        for outcome, by_seeds in found.items()
    }
    text = {"made_by": "experiments/benchmarks/calibration.py", "sweeps": sweeps, "seed": seed, "outcomes": outcomes}
    path.write_text(json.dumps(text, indent=1) + "\n")


def normal_rows(sweeps: int, seed: int) -> Iterator[Row]:
    """Coverage where everything is normal, by how much a seed mean varies more than its episodes explain."""
    for ratio in (0.0, 0.3, 1.0, 3.0, 10.0, 50.0):
        cells = []
        for seeds in (3, 5, 10):
            random = np.random.default_rng([seed, 104, seeds])
            held = 0
            for _ in range(2 * sweeps):
                own = np.sqrt(ratio / 45) * random.normal(size=(seeds, 1))
                held += crossed_spread(own + random.normal(size=(seeds, 45))).p_value > 0.05
            cells.append(share(held, 2 * sweeps))
        yield f"{ratio:g}", *cells


EQUAL, UNEQUAL = (3,), (1, 2, 3, 4, 5)  # 45 tasks in 15 groups
ALIKE = replace(NULL, run_sd=0.0)  # with one seed, no run has luck of its own: each effect is truly zero
VARIANTS_IN = (
    *(("null", replace(ALIKE if n == 1 else NULL, variants=EQUAL), n) for n in (1, 2, 3, 5)),
    *(("null, unequal groups", replace(ALIKE if n == 1 else NULL, variants=UNEQUAL), n) for n in (1, 3)),
    *(("usual", replace(USUAL, variants=EQUAL), n) for n in (1, 2, 3, 5)),
    *(("usual, unequal groups", replace(USUAL, variants=UNEQUAL), n) for n in (1, 3)),
)


def variant_rows(
    sweeps: int, seed: int, cells: Sequence[tuple[str, SimulatedWorld, int]] = VARIANTS_IN
) -> Iterator[Row]:
    """The same sweeps judged as if each task stood for itself, and by groups."""
    arms = design("leave_one_out", NOTE)
    family = leave_one_out(arms)
    for name, world, seeds in cells:
        random = np.random.default_rng([seed, 108, seeds, len(name)])
        held: dict[bool, list[float]] = {False: [], True: []}
        wrong, nulls = {False: 0, True: 0}, 0
        for _ in range(sweeps):
            whole, true_A_S = simulated_sweep(NOTE, arms, world, seeds, random)
            true = [float(c.weights_A @ true_A_S[:, -1]) for c in family]
            for grouped in (False, True):
                made = whole if grouped else replace(whole, task_groups={})
                found = estimate_family(made, "final", family, {id(c): measure(made, c, "final") for c in family})
                known = [(t, e) for t, e in zip(true, found, strict=True) if not e.identical]
                held[grouped].append(float(np.mean([_holds(e, t) for t, e in known])))
                absent = [e for t, e in known if abs(t) < TINY]
                wrong[grouped] += any(e.p_holm is not None and e.p_holm < 0.05 for e in absent)
            nulls += bool(absent)
        yield (
            name, str(seeds), str(sweeps), *(clustered(np.array(held[grouped])) for grouped in (False, True)),
            *(share(wrong[grouped], nulls) for grouped in (False, True)),
        )  # fmt: skip


def _holds(effect: Effect, true: float) -> bool:
    return effect.low is not None and effect.high is not None and effect.low - TINY <= true <= effect.high + TINY


def floor_rows(sweeps: int, seed: int) -> Iterator[Row]:
    """Coverage where each kind, all of its three variants, is lost in a few seeds: tables of D, no sweeps."""
    kinds = tuple(f"{n // 3}" for n in range(45))
    for seeds, lost in ((1, 0.04), (1, 0.08), (1, 0.15), (3, 0.02), (3, 0.04), (5, 0.01), (5, 0.02), (5, 0.04)):
        random = np.random.default_rng([seed, 109, seeds, round(100 * lost)])
        held = np.zeros(3)
        for _ in range(sweeps):
            values = -np.repeat((random.random((seeds, 15)) < lost).astype(float), 3, axis=1)
            spreads = (
                crossed_spread(values, 1.0),
                crossed_spread(by_group(values, kinds), 1 / 3),
                crossed_spread(values, 1.0, kinds),
            )
            held += [abs(s.mean + lost) <= s.half_width() + TINY for s in spreads]
        yield f"{seeds}", f"{100 * lost:.0f} %", *(share(float(h), sweeps) for h in held)


Table = tuple[str, Row, Callable[[int, int], Iterator[Row]]]
TABLES: tuple[Table, ...] = (
    (
        """## Interquartile means

Coverage of the 95 % interval of the interquartile mean of one arm (`all_on`, `without_reward`).""",
        ("world", "seeds", "coverage"),
        lambda sweeps, seed: iqm_rows(sweeps // 2, seed),
    ),
    (
        """## Controls of the gates

Sweeps of `gate_aware` in which the controls refute that sealed gates are sealed: an error in the first two worlds
(≤ 5 %; at one seed, where few episodes make a difference and it is far from normal, a little more), a discovery in the
third. Few seeds see a leak of 30 % rarely: that the controls do not refute is weak evidence there, and the report says
how many cannot tell.""",
        ("world", "seeds", *OUTCOMES),
        gate_rows,
    ),
    (
        """## Rank probabilities

Effects of endpoint, tools and reward drawn anew for every sweep of `leave_one_out`. Of all statements "this fix has
this rank" whose probability lies in the bin: the mean probability, and the share that is true.""",
        ("world", "seeds", "stated", "statements", "mean stated", "true"),
        lambda sweeps, seed: rank_rows(sweeps // 2, seed),
    ),
    (
        """## Sets of ranks

For each fix the smallest set of ranks with a stated probability of 95 %: how often the true rank (one of them, where
effects are tied) lies outside (≤ 5 %), and how many ranks it holds. Then the fix with the largest probability of the
first rank: that probability, and how often it is the first (tied firsts share).""",
        ("world", "seeds", "true rank outside", "ranks in the set", "first stated", "first true"),
        lambda sweeps, seed: rank_set_rows(sweeps // 2, seed),
    ),
    (
        """## Ranks where runs are absent

Two fixes that are worth the same, of which the second one's arm lacks the runs of some seeds (INVALID): the mean
probability that the first one has the larger effect (50 %), and how often one of them is said to have it with at least
97.5 % (≤ 5 %).""",
        ("world", "seeds", "of which absent", "first", "surely one of them"),
        lambda sweeps, seed: unequal_rows(sweeps // 2, seed),
    ),
    (
        """## Claims

Claims of one part about `without_reward` and about the order of all fixes, each with its bound next to the truth, where
a false verdict is likeliest: how often a false claim is confirmed or a true one refuted (2.5 % for one bound), and how
often the verdict is the right one. Registered claims have bounds farther from the truth, and more parts.""",
        ("world", "seeds", "claim", "it is", "wrong verdict", "right verdict"),
        lambda sweeps, seed: claim_rows(sweeps // 2, seed),
    ),
    (
        """## Failures that few seeds cannot see

With the recorded curves of eight steps, whose runs agree well, so that intervals are narrow, some runs of
`without_reward` stay at the base policy. So many seeds may not show a
failing share up to the one in "could be missed" (at 5 %). Of the shares up to it (5, 10, 15, 20, 30, 40, 50 %), the one
with which the 95 % intervals of the effect of `reward` cover least, and how many sweeps show no failure there. Reports
read these numbers (`harness/stats/unseen_failures.json`).""",
        ("outcome", "seeds", "could be missed", "failing runs", "coverage", "sweeps without a failure"),
        lambda sweeps, seed: failure_rows(2 * sweeps, seed),
    ),
    (
        """## Why null cells lie above 97 %

Coverage where everything is normal. Left: the variance of a seed's mean beyond what its episodes explain, relative to
what they explain. Where seeds add much, the interval is exact. Where they add nothing, they seem to add little half of
the time and much the other half, by luck: the interval never goes below what tasks and episodes explain, but it must
believe the large estimate, so it is too wide on average. Without that floor it would cover 97 %, but 86 % in the fifth
of the sweeps whose seeds agree best. A cell above 97 % costs power; it makes nothing look surer than it is.""",
        ("ratio", "3 seeds", "5 seeds", "10 seeds"),
        lambda sweeps, seed: normal_rows(4 * sweeps, seed),
    ),
    (
        """## Tasks that are variants of one another

45 tasks in 15 groups, of 3 tasks each or of 1 to 5, whose difficulty and luck are alike (correlation .95), as those of
domain `mock` are. The same sweeps of `leave_one_out`, judged as if each task stood for itself and by groups: coverage
of the 95 % intervals of the final reward, and sweeps with a significant effect (Holm) where there is none (≤ 5 %; with
one seed the truth is that of its runs, and in "null" these have no luck of their own).""",
        (
            "world",
            "seeds",
            "sweeps",
            "coverage, tasks",
            "coverage, groups",
            "family-wise error, tasks",
            "family-wise error, groups",
        ),
        variant_rows,
    ),
    (
        """## Floors where tasks are variants

In each seed each of 15 kinds, with all of its 3 tasks, is lost with this probability, so often in none: coverage of the
95 % interval of the mean by tasks; by groups with floors for single episodes; and by groups, a group being one task in
the floors, too, which is what intervals do.""",
        ("seeds", "lost", "tasks", "groups, floors for episodes", "groups"),
        lambda sweeps, seed: floor_rows(4 * sweeps, seed),
    ),
)

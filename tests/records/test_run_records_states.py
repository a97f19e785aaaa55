"""A run's records as a state machine: crashes at every system call, power cuts, damage, and a resume after each.

The undisturbed run writes SCRIPT, line by line. A process that starts again walks it from the start.
"""

import errno
import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from harness.errors import DiskError, StoreError
from harness.records.layout import SweepFiles
from harness.records.run_records import RunRecords, _results
from harness.records.schema import FILES
from tests.simulated_disk import Disk, Killed
from tests.states import Machine, explore

RUN = "all_on/seed=0"
SCRIPT = [("validation", {"step": 0, "reference": {"mean": 0.25}})]
for STEP in (1, 2, 3):
    SCRIPT += [
        ("steps", {"step": STEP, "reward": STEP / 8, "update": "ab" * STEP}),
        *(("checks", {"step": STEP, "factor": factor, "text": "as it should"}) for factor in ("tools", "split")),
        ("validation", {"step": STEP, "reference": {"mean": STEP / 4}}),
    ]
LINES = {name: [line for other, line in SCRIPT if other == name] for name in FILES}
# After how many system calls, and how, what is being done is cut off; None: it is not
CUTS = st.none() | st.tuples(st.integers(0, 25), st.sampled_from((None, None, errno.ENOSPC, errno.EIO)))


def key(name, line):
    return name, line["step"], line.get("factor")


class RecordsStates(Machine):
    @initialize()
    def a_folder(self):
        self.disk = Disk()
        self.files = SweepFiles(self.disk.path)
        self.records: RunRecords | None = None
        self.attempt = 0
        self.watched: list = []
        self.at = 0  # of the script, in the process that runs now
        # By key: what `add` has returned from, and what a cut one may have left
        self.kept: dict = {}
        self.perhaps: dict = {}
        self.status: dict = {}
        self.statuses: list[dict] = []  # that a cut one may have left
        self.damaged = False

    def _cut(self, cut, work):
        """Whether `work` was done. Ends the process where it was not: the harness stops a run that the disk fails."""
        calls, number = cut or (None, None)
        self.disk.calls_left = calls
        self.disk.order = OSError(number, "planted") if number else Killed()
        try:
            work()
        except Killed:
            self.records = None
        except (DiskError, OSError):
            assert number and self.disk.calls_left is None
            self.records = None
        finally:
            self.disk.calls_left, self.disk.ended = None, False
        return self.records is not None

    @rule(cut=CUTS)
    def start(self, cut):
        """A process begins the run, or begins it again."""
        self.attempt += 1
        self.at, self.watched, self.records = 0, [], None

        def work():
            records = RunRecords(self.files.run(RUN).folder, watch=lambda *line: self.watched.append(line))
            self.records = records
            self._set_status(records, state="running", attempt=self.attempt)

        self._cut(cut, work)

    @rule(lines=st.integers(1, len(SCRIPT)), cut=CUTS)
    def start_and_write(self, lines, cut):
        self.start(None)
        self.write(cut, lines)

    @rule(seed=st.integers(0, 1000))
    def replay_what_is_there_and_cut_the_power(self, seed):
        found = self._visible(self.files.run(RUN).content())
        self.start(None)
        self.write(None, next((n for n, line in enumerate(SCRIPT) if key(*line) not in found), len(SCRIPT)))
        self.kill(True, seed)

    @precondition(lambda self: self.records)
    @rule(cut=CUTS, lines=st.integers(1, len(SCRIPT)))
    def write(self, cut, lines):
        there = self._visible(self.files.run(RUN).content())

        def work():
            for name, line in SCRIPT[self.at : self.at + lines]:
                full = line if name == "checks" else {**line, "seconds": float(self.attempt)}
                place = key(name, line)
                first = there.get(place, full)
                self.perhaps.setdefault(place, []).append(full)
                self.records.add(name, full)
                self.kept[place] = first
                del self.perhaps[place]
                self.at += 1
                assert self.watched[-1] == (name, first)

        self._cut(cut, work)

    @precondition(lambda self: self.records and self.at == len(SCRIPT))
    @rule(cut=CUTS)
    def complete(self, cut):
        counts = {name: len(self.records.lines(name)) for name in FILES}
        self._cut(cut, lambda: self._set_status(self.records, state="completed", lines=counts))

    @rule(power=st.booleans(), seed=st.integers(0, 1000))
    def kill(self, power, seed):
        self.records = None
        if power:
            self.disk.cut_power(random.Random(seed).randrange)
            if not self.damaged:
                self._look(torn=True)

    @precondition(lambda self: self.records and self.at)
    @rule(which=st.integers(0, 100))
    def another_result(self, which):
        """Is refused, and changes nothing."""
        name, line = SCRIPT[which % self.at]
        changed = {**line, **({"text": "other"} if name == "checks" else {"reported": 7} | {"reward": 7})}
        changed = {k: v for k, v in changed.items() if not (name == "validation" and k == "reward")}
        changed = {k: v for k, v in changed.items() if not (name == "steps" and k == "reported")}
        before = self.files.run(RUN).lines(name).read_bytes()
        with pytest.raises(StoreError, match="holds another result"):
            self.records.add(name, changed)
        assert self.files.run(RUN).lines(name).read_bytes() == before

    @precondition(lambda self: not self.records)
    @rule(name=st.sampled_from(FILES), how=st.sampled_from(("torn", "gone", "zeros", "run together", "empty")),
          which=st.integers(0, 100), cut=st.integers(0, 1000))  # fmt: skip
    def lines_are_damaged(self, name, how, which, cut):
        path = self.files.run(RUN).lines(name)
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if not lines:
            return
        which %= len(lines)
        torn = lines[which][: cut % (len(lines[which]) - 1)]
        spoiled = {"torn": torn + b"\n", "gone": b"", "zeros": bytes(9) + b"\n", "run together": torn, "empty": b""}
        lines[which] = spoiled[how]
        self.disk.damage(path, b"" if how == "empty" else b"".join(lines))
        left = self._visible(self.files.run(RUN).content())
        for place in [place for place in self.kept if place[0] == name and place not in left]:
            del self.kept[place]
        self.damaged = True

    def _set_status(self, records, **status):
        self.statuses.append(status)
        records.set_status(**status)
        self.status, self.statuses = status, []

    def _visible(self, content):
        """By key, the lines that are there, whole."""
        lines = [(key(name, line), line) for name in FILES for line in getattr(content, name)]
        found = dict(lines)
        assert len(found) == len(lines), "a line stands twice"
        return found

    def always(self):
        self._look(torn=self.records is None)

    def _look(self, torn):
        content = self.files.run(RUN).content()
        found = self._visible(content)
        for place, line in self.kept.items():
            assert found.get(place) == line, "a line is lost"
        for place, line in found.items():
            assert line == self.kept.get(place) or line in self.perhaps.get(place, []), "a line that nobody wrote"
        assert torn or self.damaged or content.unreadable == 0
        assert content.status == self.status or content.status in self.statuses
        if content.status.get("state") == "completed" and self.files.is_completed(RUN):
            for name, lines in LINES.items():
                made = [_results(line) for line in getattr(content, name)]
                assert sorted(made, key=str) == sorted(lines, key=str)

    def teardown(self):
        if not hasattr(self, "disk"):
            return
        try:
            self.start(None)
            self.write(None, len(SCRIPT))
            self.complete(None)
            assert [_results(line) for _, line in self.watched] == [line for _, line in SCRIPT]
            assert self.files.is_completed(RUN)
            self._look(torn=False)
        finally:
            self.disk.close()


def test_a_run_that_goes_on_ends_with_the_lines_of_one_that_was_left_alone():
    explore(RecordsStates, "records")

"""The one file that holds a sweep's records: JSON lines, compressed by xz (`xzcat`, `xzgrep`).

    {"archive": 1, "config": {…}, "reuse": {…}}                     the configuration of the first run; reuse.json
    {"run": …, "status": {…}, "config": {…}, "without": […], "unreadable": 0}
                                                                    a run; its config where it differs from the first
    {"run": …, "steps": {…}}  {"run": …, "validation": {…}}  {"run": …, "checks": {…}}
    {"rollout": {…}}                                                the sample of rollouts (sweep/sample.py)

The same records give the same bytes.
"""

import json
import lzma
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.errors import ConfigError
from harness.records.json_files import DECODER
from harness.records.schema import FILES, Record, RunContent

VERSION = 1
ROLLOUT = '{"rollout": '


@dataclass(frozen=True)
class Archive:
    """runs, configs: by name; sample: rollouts as text, since they are most of the file and few readers want them.

    reuse: what reuse.json held; {} in an archive that was made while that file stayed beside it
    """

    runs: dict[str, RunContent]
    configs: dict[str, Record]
    sample: tuple[str, ...]
    reuse: Record

    def rollouts(self) -> list[Record]:
        return [DECODER.decode(line)["rollout"] for line in self.sample]


def encode(
    runs: Mapping[str, RunContent], configs: Mapping[str, Record], sample: Iterable[Record], reuse: Record
) -> bytes:
    first = next(iter(configs.values()), {})
    lines: list[Record] = [{"archive": VERSION, "config": first, "reuse": reuse}]
    for run, content in runs.items():
        config = configs[run]
        lines.append(
            {
                "run": run,
                "status": content.status,
                "config": {k: v for k, v in config.items() if k not in first or first[k] != v},
                "without": [k for k in first if k not in config],
                "unreadable": content.unreadable,
            }
        )
        lines += [{"run": run, name: line} for name in FILES for line in getattr(content, name)]
    lines += [{"rollout": rollout} for rollout in sample]
    return lzma.compress("".join(json.dumps(line) + "\n" for line in lines).encode())


def decode(raw: bytes) -> Archive:
    """Raises ValueError, KeyError or lzma.LZMAError for anything that `encode` did not write."""
    lines = lzma.decompress(raw).decode().splitlines()
    sample = tuple(line for line in lines if line.startswith(ROLLOUT))
    header, *records = DECODER.decode("[" + ",".join(lines[: len(lines) - len(sample)]) + "]")
    if header["archive"] != VERSION:
        raise ValueError(f"its format is {header['archive']}, this code reads {VERSION}")
    first = header["config"]
    archive = Archive({}, {}, sample, header.get("reuse", {}))
    for record in records:
        run = record["run"]
        if "status" in record:
            archive.runs[run] = RunContent(record["status"], [], [], [], record["unreadable"])
            archive.configs[run] = {k: v for k, v in first.items() if k not in record["without"]} | record["config"]
        else:
            name = next(name for name in FILES if name in record)
            getattr(archive.runs[run], name).append(record[name])
    return archive


def read_archive(path: Path) -> Archive:
    """Raises ConfigError for a file that is damaged. The caller must not change what it gets: it is kept."""
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)
def _read(path: Path, mtime_ns: int, size: int) -> Archive:
    try:
        return decode(path.read_bytes())
    except (ValueError, KeyError, IndexError, StopIteration, lzma.LZMAError, EOFError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}). Expected the records of a sweep, as `harness archive` writes them. "
            "Take the file from where it was committed again."
        ) from error

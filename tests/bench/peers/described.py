"""Who is compared: how each is started, how long its text is, and what it does not do. Nothing is run here."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HOUSE = HERE.parents[2]
OUTCOME, RATER, SCALE = "general_landmark", "client", "trust"
MODELS = ("unadjusted", "criminal_history", "full")
TEXTS = {".py": "#", ".R": "#", ".yml": "#", ".sql": "--"}  # what is written by hand, and how a comment begins

Commands = list[list[str]]


@dataclass(frozen=True)
class Peer:
    """One way to do the work. `commands`: (deliveries, own empty folder, imputations) -> what is typed there, in order."""

    name: str
    commands: Callable[[Path, Path, int], Commands]
    texts: tuple[Path, ...]
    lacks: tuple[str, ...]

    @property
    def lines(self) -> int:
        return sum(lines_of(path) for path in self.texts)


def texts_below(*folders: Path) -> tuple[Path, ...]:
    """The texts that count as lines, in order."""
    return tuple(
        path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in TEXTS and path.is_file()
    )


def lines_of(path: Path) -> int:
    """Lines that are neither blank nor comment; a docstring is one, and so is what stands between the marks of Jinja."""
    text = path.read_text(encoding="utf-8")
    ignored = set(_docstrings(text)) if path.suffix == ".py" else set()
    found, is_in_comment = 0, False
    for number, line in enumerate(text.splitlines(), start=1):
        is_comment = is_in_comment or line.lstrip().startswith("{#") or number in ignored
        is_in_comment = path.suffix == ".sql" and is_comment and "#}" not in line
        found += bool(line.strip()) and not is_comment and not line.lstrip().startswith(TEXTS[path.suffix])
    return found


def _docstrings(text: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield from range(first.lineno, (first.end_lineno or first.lineno) + 1)


def _dbt(delivered: Path, out: Path, imputations: int) -> Commands:
    project = HERE / "peer_dbt"
    dbt = str(Path(sys.executable).with_name("dbt"))
    return [
        [
            dbt, "--quiet", "build", f"--project-dir={project}", f"--profiles-dir={project}", f"--target-path={out / 'target'}",
            f"--log-path={out}", "--vars", f"{{deliveries: '{delivered}'}}",
        ],
        [sys.executable, str(project / "notebook.py"), str(imputations)],
    ]  # fmt: skip


# True of each of the scripts as they are written.
EVERY_SCRIPT: Sequence[str] = (
    "no gate: no delivery is held against its manifest (checksums, rows), nothing is refused, and no partner is told why",
    "national numbers and dates of birth as they were delivered; no pseudonyms",
    "the newest delivery is the last folder by name; a row that is gone without a word is gone; the cut-off is typed in",
    "no versions: a run writes over the one before, and nothing says what it was made from",
    "no withdrawal: who leaves is to be taken out of every file by hand",
    "no follow-up diff: nobody sees whose outcome changed since the last extract, or why",
    "no suppression: small counts stand in table1.csv as they are",
    "no imputation diagnostics",
    "no second engine, no test of proportional hazards",
    "no penalty where events are few; the platform's is Firth's, below 10 for each term",
    "one outcome definition, models of one scale and rater; no curves, absolute risks, sensitivity rows or report",
)
PEERS = (
    Peer(
        "R: dplyr, mice, survival, haven",
        lambda delivered, out, m: [["Rscript", "--vanilla", str(HERE / "peer.R"), str(delivered), str(out), str(m)]],
        (HERE / "peer.R",),
        (
            "keys, ranges and references are not checked, but for a person who would be there twice",
            "a date that is none becomes missing without a word; an unknown country becomes non-Western, an unknown sex female",
            "mice stops where clients are hardly more than predictors: at 40 clients there are no estimates",
        ),
    ),
    Peer(
        "pandas, lifelines",
        lambda delivered, out, m: [[sys.executable, str(HERE / "peer_pandas.py"), str(delivered), str(out), str(m)]],
        (HERE / "peer_pandas.py",),
        (
            "keys, ranges and references are not checked, but for a person who would be there twice",
            "the error about a date that is none shows it; an unknown country becomes non-Western, an unknown sex female",
            "yes and no are imputed as continuous numbers",
        ),
    ),
    Peer(
        "dbt-duckdb, a notebook",
        _dbt,
        texts_below(HERE / "peer_dbt"),
        (
            "tests of two keys, one reference, the waves and what may not be empty, no more: an unknown country becomes non-Western, an unknown sex female",
            "the error about a date that is none shows it; peer.duckdb holds national numbers and dates of birth",
            "yes and no are imputed as continuous numbers",
        ),
    ),
)
PLATFORM_TEXTS = ("orchestration", "dbt_project/models", "dbt_project/macros", "dbt_project/tests", "expectations")
PLATFORM_COMMAND = str(Path(sys.executable).with_name("delictvrij"))
PLATFORM = Peer(
    "the platform: init, refresh",
    lambda _delivered, _out, _m: [[PLATFORM_COMMAND, "init"], [PLATFORM_COMMAND, "refresh"]],
    texts_below(*(HOUSE / name for name in PLATFORM_TEXTS)),
    (
        "a .sav before there is a release; all else of the list above it does, and its time is that of all of it: gate, every outcome "
        "definition, all scales and raters, report",
        "its lines are those of a product: the group that uses it writes none, and types two commands",
    ),
)
CORE = Peer(
    "the platform: build and these models",
    lambda delivered, out, _m: [[sys.executable, "-m", "tests.bench.peers.core", str(delivered), str(out)]],
    PLATFORM.texts,
    (
        "its gate, ledger, versions, other models, Table 1 and report; pseudonyms and the whole dbt project with its tests it does",
    ),
)

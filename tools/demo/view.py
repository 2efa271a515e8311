"""The demonstration at a terminal: results as they come, and below them what is going on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import TaskID
from rich.text import Text

from migration import Side
from migration.model import Verdict
from shim.cli.output import printable, progress_bar
from tools.demo.results import Answer, BigUpload, Compared, DemoResult, DemoStage, Flip, SideServed
from tools.settings import MEGABYTE

_COLUMNS = "{:>6}  {:>7}  {:>6}  {:<19}  {:<19}  {:<}"


class DemoView:
    """Prints results as they come, and below them what is going on."""

    def __init__(self, console: Console, *, verbose: bool) -> None:
        self._console = console
        self._verbose = verbose
        self._task: TaskID | None = None
        self._done, self._total = 0, 0
        self._headed = False
        self.progress = progress_bar(console)

    def began(self, what: str, total: int | None = None) -> None:
        """Name what is going on: at the bar, or in a line where there is no terminal."""
        if self._task is not None:
            self.progress.remove_task(self._task)
        self._task = self.progress.add_task(what, total=total)
        self._done, self._total = 0, total or 0
        if not self._console.is_terminal:
            self._print(f"... {what}", "dim")

    def advanced(self) -> None:
        """Move the bar, or print a line at each quarter."""
        if self._task is not None:
            self.progress.advance(self._task)
        self._done += 1
        quarter = self._done * 4 // self._total > (self._done - 1) * 4 // self._total
        if quarter and self._done < self._total and not self._console.is_terminal:
            self._print(f"    {self._done} of {self._total}", "dim")

    def answered(self, answer: Answer) -> None:
        """Show question and answer."""
        self._head("A question, asked through the unchanged caller")
        self._print(f"  {answer.file}: {answer.question}")
        self._print(f"  {answer.answer}", "italic")
        self._print(f"  ({answer.provider}, {answer.seconds:.1f} s)", "dim")

    def uploaded_big(self, upload: BigUpload) -> None:
        """Show time and memory."""
        size, growth = upload.size / MEGABYTE, upload.memory_growth / MEGABYTE
        self._print(
            f"  one file of {size:.0f} MB through {upload.side.value}: {upload.seconds:.2f} s, "
            f"memory grew by {growth:.1f} MB at most"
        )

    def compared(self, comparisons: Sequence[Compared]) -> None:
        """Show every difference field by field, and with `--verbose` every comparison."""
        for each in comparisons:
            if self._verbose or each.differences or each.detail:
                self._print(f"  {_comparison(each)}", "yellow" if each.differences or each.detail else "dim")
            for difference in each.differences:
                self._print(
                    f"      {difference.field}: legacy {difference.legacy}, candidate {difference.candidate}", "yellow"
                )

    def staged(self, stage: DemoStage) -> None:
        """Add a row to the table."""
        if not self._headed:
            self._headed = True
            self._head("Uploads by several threads, share by share")
            columns = ("share", "uploads", "failed", "served by legacy", "served by candidate", "compared")
            self._print(_COLUMNS.format(*columns), "bold")
        self._print(
            _COLUMNS.format(
                f"{stage.percentage} %",
                stage.uploads,
                stage.failures,
                _served(stage.served[Side.LEGACY]),
                _served(stage.served[Side.CANDIDATE]),
                _counts(stage.verdicts),
            )
        )

    def traced(self, lines: Sequence[str]) -> None:
        """Show the spans of one call."""
        if lines:
            self._head("One upload by the candidate as telemetry saw it")
        for line in lines:
            self._print(f"  {line}", "cyan")

    def flipped(self, flip: Flip) -> None:
        """Show how quickly the flags worked."""
        self._head("The flags are turned off while uploads go on")
        self._print(f"  last call begun on candidate     {flip.last_candidate_begun:.2f} s after the flip")
        self._print(f"  last call answered by candidate  {flip.last_candidate_answered:.2f} s")
        self._print(f"  first call begun on legacy       {flip.first_legacy_begun:.2f} s")

    def summed_up(self, result: DemoResult) -> None:
        """Show the account of it all."""
        account, verdicts = result.account, Counter(each.verdict for each in result.compared)
        self._head("Account")
        shared = f" ({account.shared} had the file of an upload of the same content)" if account.shared else ""
        self._print(f"  {account.answered} uploads answered, {account.held} files held by the providers{shared}")
        if result.failed:
            self._print(f"  {result.failed} uploads failed, as their callers were told", "yellow")
        self._print(f"  {len(result.compared)} calls compared: {_counts(verdicts) or 'none was sampled'}")
        for name, ids in (("lost", account.lost), ("doubled", account.doubled)):
            for each in ids:
                self._print(f"  {name}: {each}", "red")
        back = result.flip.last_candidate_begun
        self._print(
            f"  back on legacy after {back:.1f} s, {len(account.lost)} uploads lost, {len(account.doubled)} doubled "
            "(every id and SHA-256 compared)",
            "bold green" if result.ok else "bold red",
        )
        self._print(f"  ({result.seconds:.0f} s in all; flags were in {result.flags})", "dim")

    def _head(self, title: str) -> None:
        self._print("")
        self._print(title, "bold")

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(printable(text, keep="\n"), style))


def _served(served: SideServed) -> str:
    if served.mean_seconds is None:
        return "0"
    return f"{served.calls} ({served.mean_seconds * 1000:.0f} ms each)"


def _counts(verdicts: Mapping[Verdict, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())


def _comparison(compared: Compared) -> str:
    served_by = compared.primary.value
    parts = [f"{compared.verdict:<15} {compared.migration} {compared.size} bytes, served by {served_by}"]
    if compared.primary_seconds is not None and compared.shadow_seconds is not None:
        parts.append(f"in {compared.primary_seconds:.3f} s, the shadow took {compared.shadow_seconds:.3f} s")
    if compared.detail:
        parts.append(f"({compared.detail})")
    return " ".join(parts)

"""What other documents may quote of a run: ratios, with how they were taken."""

from __future__ import annotations

from bench.errors import NoResultsError
from bench.page import table
from bench.phrases import bound, goal_subject, machine_text, shown_spread
from bench.results import Results


def quotation(results: Results) -> str:
    """A paragraph and a table in Markdown.

    Raises:
        NoResultsError: the run was a quick one, or has no goals.
    """
    goals = [(row, goal) for row in results.rows for goal in row.goals if goal.goal.to and goal.spread is not None]
    if results.quick or not goals:
        raise NoResultsError("only a whole run may be quoted; run the benchmark without --quick and --only")
    everything = [goal for row in results.rows for goal in row.goals]
    reached = sum(goal.reached is True for goal in everything)
    rows = [(row.title, goal_subject(goal.goal, row), shown_spread(goal), bound(goal.goal)) for row, goal in goals]
    return (
        f"Ratios within the rounds of one interleaved run ({machine_text(results)}): median (quartiles). "
        f"{reached} of {len(everything)} goals were reached.\n\n"
        f"{table(('work', 'what', 'measured', 'goal'), rows)}"
    )

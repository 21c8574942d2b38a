"""The live screen of `vdp top`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Input, Static, TabbedContent, TabPane

from vdp.cli import top_tables
from vdp.cli.text import escaped
from vdp.cli.top_tables import FLOWS_MOST, Flows, Table
from vdp.control.errors import ControlError, DaemonUnreachable
from vdp.status.history import History

TABLES: dict[str, Callable[[History], Table]] = {
    "links": top_tables.links,
    "ports": top_tables.ports,
    "drops": top_tables.drops,
    "handlers": top_tables.handlers,
}
NAMES = ("links", "ports", "flows", "drops", "handlers")
_TONES = {
    "up": "green", "asked": "green", "now": "green",
    "down": "bold red", "quarantine": "bold red", "error": "yellow", "disabled": "yellow",
}  # fmt: skip
_LEFT = {"port", "type", "state", "link", "kind", "remote", "heard", "reason", "what", "place", "handler",
         "plugin", "last error", "in port", "fate", "match"}  # fmt: skip


class Screen(App[None]):
    """Tabs of tables under a line of totals and what is wrong."""

    CSS = """
    #totals { height: auto; max-height: 2; padding: 0 1; background: $primary-background; text-style: bold; }
    #wrong { height: auto; max-height: 6; padding: 0 1; }
    #wrong.calm { color: $text-success; }
    #filter { display: none; height: 3; }
    #filter.open { display: block; }
    DataTable { height: 1fr; }
    TabbedContent { height: 1fr; }
    """
    TITLE = "vdp top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(n + 1), f"show('{name}')", name) for n, name in enumerate(NAMES)),
        Binding("s", "sort", "sort"),
        Binding("r", "reverse", "reverse"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("p,space", "pause", "pause"),
        Binding("q", "quit", "quit"),
        Binding("escape", "clear", "", show=False),
    ]

    def __init__(self, history: History, flows: Flows, interval_s: float) -> None:
        super().__init__()
        self._history = history
        self._flows = flows
        self._interval_s = interval_s
        self._paused = False
        self._is_looking = False
        self._filter = ""
        #: By table: the column sorted by, None is how busy it is; and whether the order is turned.
        self._sorted: dict[str, tuple[int | None, bool]] = dict.fromkeys(NAMES, (None, False))

    def compose(self) -> ComposeResult:
        yield Static(id="totals")
        yield Static(id="wrong")
        with TabbedContent(initial=NAMES[0]):
            for name in NAMES:
                with TabPane(name.capitalize(), id=name):
                    yield DataTable(id=f"{name}-table", cursor_type="row", zebra_stripes=True)
        yield Input(placeholder="rows that have this text", id="filter", disabled=True)
        yield Footer()

    def on_mount(self) -> None:
        self._focus()
        self._draw()
        self.set_interval(self._interval_s, self._look_aside)

    def _look_aside(self) -> None:
        """Without holding up the keys."""
        if not self._is_looking:
            self.run_worker(self._look())

    async def _look(self) -> None:
        """Another sample."""
        if self._paused:
            return
        self._is_looking = True
        try:
            await asyncio.to_thread(self._history.take)
            if self._shown == "flows":
                await asyncio.to_thread(self._flows.take)
        except (DaemonUnreachable, ControlError) as error:
            self.query_one("#wrong", Static).update(Text(escaped(str(error)), style="bold red"))
            return
        finally:
            self._is_looking = False
        self._draw()

    @property
    def _shown(self) -> str:
        return self.query_one(TabbedContent).active

    def _draw(self) -> None:
        paused = "PAUSED | " if self._paused else ""
        self.query_one("#totals", Static).update(Text(paused + top_tables.headline(self._history)))
        wrong = top_tables.wrong(self._history)
        lines = [
            Text(escaped(line), style="bold red" if severity == "bad" else "yellow")
            for severity, line in wrong
        ]
        box = self.query_one("#wrong", Static)
        box.set_class(not wrong, "calm")
        box.update(Text("\n").join(lines) if lines else Text("Nothing is wrong that vdp can see."))
        name = self._shown
        table = self._flows.table() if name == "flows" else TABLES[name](self._history)
        self._fill(self.query_one(f"#{name}-table", DataTable), table)

    def _fill(self, into: DataTable[Text], table: Table) -> None:
        """Anew, with the cursor and what is scrolled to as it was."""
        row, scrolled = into.cursor_row, into.scroll_offset
        into.clear(columns=True)
        column, is_turned = self._sorted[table.name]
        rows = list(zip(table.rows, table.order, strict=True))
        if self._filter:
            rows = [each for each in rows if any(self._filter in str(cell).lower() for cell in each[0])]
        if column is not None:
            rows.sort(key=lambda each: (isinstance(each[1][column], str), each[1][column]))
            is_turned ^= bool(rows) and not isinstance(rows[0][1][column], str)  # numbers: the most first
        if is_turned:
            rows.reverse()
        if not rows:
            into.add_column("")
            into.add_row(Text("No row has this text." if self._filter and table.rows else table.empty))
            return
        for n, head in enumerate(table.heads):
            mark = "" if n != column else " ▾"
            into.add_column(Text(head + mark, justify="left" if head in _LEFT else "right"))
        for cells, _ in rows[:FLOWS_MOST]:
            into.add_row(
                *(
                    Text(
                        escaped(str(cell)),
                        style=_TONES.get(str(cell), ""),
                        justify="left" if head in _LEFT else "right",
                    )
                    for head, cell in zip(table.heads, cells, strict=True)
                )
            )
        into.move_cursor(row=min(row, len(rows) - 1), scroll=False)
        into.scroll_to(*scrolled, animate=False)

    def action_show(self, name: str) -> None:
        self.query_one(TabbedContent).active = name
        self._focus()
        self._draw()
        if name == "flows":
            self._look_aside()

    def on_tabbed_content_tab_activated(self) -> None:
        self._draw()

    def action_sort(self) -> None:
        """By the next column; behind the last one, by how busy it is again."""
        name = self._shown
        column, is_turned = self._sorted[name]
        after = 0 if column is None else column + 1
        columns = len(self.query_one(f"#{name}-table", DataTable).columns)
        self._sorted[name] = (after if after < columns else None, is_turned)
        self._draw()

    def action_reverse(self) -> None:
        column, is_turned = self._sorted[self._shown]
        self._sorted[self._shown] = (column, not is_turned)
        self._draw()

    def action_pause(self) -> None:
        self._paused = not self._paused
        self._draw()

    def action_filter(self) -> None:
        box = self.query_one("#filter", Input)
        box.add_class("open")
        box.disabled = False
        box.focus()

    def action_clear(self) -> None:
        box = self.query_one("#filter", Input)
        box.value = ""
        self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._filter = event.value.lower()
        self._draw()

    def on_input_submitted(self) -> None:
        self._close_filter()

    def _close_filter(self) -> None:
        box = self.query_one("#filter", Input)
        box.remove_class("open")
        box.disabled = True
        self._focus()

    def _focus(self) -> None:
        self.query_one(f"#{self._shown}-table", DataTable).focus()

"""landbridge plan"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import counts as counted
from landbridge.cli import options

Text = str | None
GIGABIT = 1e9 / 8  # bytes


def command(
    sources: counted.Sources = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A name of `landbridge models`; repeatable. All that divide among nodes by default."
        ),
    ] = None,
    factors: Annotated[str, typer.Option(help="Numbers of factors, comma-separated.")] = "64",
    nodes: Annotated[str, typer.Option(help="Numbers of nodes, comma-separated.")] = "1,2,4,8",
    settings: options.Settings = None,
    users: counted.Users = None,
    items: counted.Items = None,
    events: counted.Events = None,
    domains: counted.Domains = 1,
    threads: Annotated[int | None, typer.Option(help="Threads of a node; by default as here.")] = None,
    network: Annotated[float, typer.Option(help="Gigabits per second between two nodes.")] = 10.0,
    node_memory: Annotated[Text, typer.Option(help="Memory of a node, such as 16GB.")] = None,
    memory: options.Memory = None,
    column: options.Columns = None,
    fold_ids: options.FoldIds = False,
    calibrate: counted.Calibrate = False,
    machine: counted.MachineFile = None,
    json: options.Json = False,
) -> None:
    """Time, memory, traffic and disk of fits on one or several nodes, before any starts.

    landbridge plan books.csv movies.parquet --users shared --factors 64,128 --nodes 1,2,4

    landbridge plan --users 300000000 --items 400000000 --events 10000000000 --domains 3 --node-memory 256GB

    Files are only counted, in blocks on disk with --memory. Without files the lengths of rows are assumed.
    """
    import polars as pl

    from landbridge.cli import show
    from landbridge.config import parse_setting
    from landbridge.core.sizes import parse_bytes
    from landbridge.core.system import processors
    from landbridge.planning.machine import of_this_machine
    from landbridge.planning.plan import Cluster, methods_of, plans

    if calibrate:
        counted.calibrate(machine)
        if not sources and events is None:
            return
    given = dict(parse_setting(text) for text in settings or ())
    columns = options.reading(column)["columns"]
    counts = counted.counts_of(sources, users, (items, events, domains), columns, fold_ids, memory)
    here = of_this_machine(machine)
    cluster = Cluster(
        processors() if threads is None else threads,
        network * GIGABIT,
        None if node_memory is None else parse_bytes(node_memory),
    )
    methods = methods_of(model or (), given, _numbers("factors", factors), counts)
    found = plans(methods, counts, here, _numbers("nodes", nodes), cluster)
    if json:
        show.answer(pl.DataFrame([each.record() for each in found]), json=True)
        return
    show.table(pl.DataFrame([each.row() for each in found]))
    counted.say_assumptions(counts, here)
    if max(each.nodes for each in found) > 1:
        typer.echo(f"The network is taken to carry {network:g} Gbit/s (--network).", err=True)


def _numbers(name: str, text: str) -> list[int]:
    from landbridge.core.errors import SettingsError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise SettingsError(f"--{name} takes whole numbers such as 1,2,4, not {text!r}.")
    return [int(part) for part in parts]

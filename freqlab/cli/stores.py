"""Commands about a stored run: info, forget, unlock."""

from __future__ import annotations

from typing import Annotated

import typer

from freqlab.cli.application import app
from freqlab.cli.output import say, stoppable


@app.command()
def info(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything and verify it against its checksums.")
    ] = False,
) -> None:
    """Describe a run; with --verify check its integrity and exit with status 1 if damaged."""
    if not verify:
        from freqlab.store.reading import describe_run

        say(describe_run(store))
        return
    from freqlab.store.integrity import Damage, check

    found = check(store)
    for row in found.itertuples(index=False):
        say(str(Damage(*row)))
    unknown = found.attrs["unknown"]
    if unknown:
        named = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        say(f"no run wrote {len(unknown):,} files, which are left alone: {named}")
    checked = (
        f"{store}: {found.attrs['chunks']:,} chunks read, {len(found):,} damages; thresholds of "
        f"{found.attrs['thresholds']:,} results and a sample of the influence of "
        f"{found.attrs['influence']:,} computed again"
    )
    if found.attrs["not_covered"]:
        checked += (
            f"; {found.attrs['not_covered']:,} arrays are not covered by digests: of them, "
            f"exchanged chunks cannot be told"
        )
        if found.attrs["without_checksums"]:
            checked += f", and in {found.attrs['without_checksums']:,} no changed value can"
    say(checked)
    if len(found):
        say("To recompute them, repeat the command that made the run with --repair.")
        raise typer.Exit(1)


@app.command()
def forget(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    subject: Annotated[str, typer.Option("--subject", help="Subject, as named in the run.")],
    people: Annotated[
        list[str] | None,
        typer.Option(
            "--people", help="Column of the faces that names the people they were made from."
        ),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept the remaining mentions of the person.")
    ] = False,
) -> None:
    """Remove one person from a run: faces, crops, embeddings, and the pairs in every result.

    Exits with status 1 while anything in the run still names the person, and lists where.
    """
    import freqlab as fl

    with stoppable():
        removed = fl.store.forget(store, subject=subject, people=people or (), accept=accept)
    say(
        f"{store}: removed {removed['faces']:,} faces, {removed['pairs']:,} pairs and "
        f"{removed['images']:,} images"
    )
    photographs, mentions = removed["photographs"], removed["mentions"]
    if photographs:
        say(f"Photographs of the person, which freqlab does not delete ({len(photographs):,}):")
        for path in photographs:
            say(f"  {path}")
    if mentions:
        say("The person is still named, as a whole word, in")
        for where, count in mentions.items():
            say(f"  {where}: {count:,}")
    if mentions and not accept:
        say("Edit these and repeat the command, or pass --accept to keep them.")
        raise typer.Exit(1)


@app.command()
def unlock(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    force: Annotated[
        bool, typer.Option("--force", help="Remove it even if the run that holds it is alive.")
    ] = False,
) -> None:
    """Remove the lock of a run whose process died, and print who held it."""
    import freqlab as fl

    with stoppable():
        holder = fl.store.unlock(store, force=force)
    if holder is None:
        say(f"{store}: there is no lock")
    else:
        say(f"{store}: the lock was removed; {holder}")

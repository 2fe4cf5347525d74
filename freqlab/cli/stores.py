"""Commands for a stored run: info, forget, unlock."""

from __future__ import annotations

from typing import Annotated

import typer

from freqlab.cli.application import app
from freqlab.cli.output import say, stoppable


@app.command()
def info(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all data and compare them with their checksums.")
    ] = False,
) -> None:
    """Describe a run; with --verify check its integrity and exit with status 1 if damaged."""
    if not verify:
        from freqlab.store.descriptions import describe_run

        say(describe_run(store))
        return
    from freqlab.store.integrity import Damage, check

    damaged = check(store)
    for row in damaged.itertuples(index=False):
        say(str(Damage(*row)))
    unknown = damaged.attrs["unknown"]
    if unknown:
        named = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        say(f"{len(unknown):,} files were not written by freqlab and are not checked: {named}")
    checked = (
        f"{store}: {damaged.attrs['chunks']:,} chunks read, {len(damaged):,} damaged parts; "
        f"recomputed the thresholds of {damaged.attrs['thresholds']:,} results and a sample of the "
        f"influence of {damaged.attrs['influence']:,}"
    )
    if damaged.attrs["not_covered"]:
        checked += (
            f"; {damaged.attrs['not_covered']:,} arrays have no digests, so exchanged chunks in "
            f"them cannot be detected"
        )
        if damaged.attrs["without_checksums"]:
            checked += f", nor changed values in {damaged.attrs['without_checksums']:,} of them"
    say(checked)
    if len(damaged):
        say("To repair the run, repeat the command that created it with --repair.")
        raise typer.Exit(1)


@app.command()
def forget(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    subject: Annotated[str, typer.Option("--subject", help="Subject, as named in the run.")],
    people: Annotated[
        list[str] | None,
        typer.Option(
            "--people",
            help="Column of the faces that names the contributors of morphs. Repeatable.",
        ),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept remaining mentions of the person.")
    ] = False,
) -> None:
    """Remove a person from a run: faces, crops, embeddings, and the pairs in every result.

    Lists remaining mentions of the person in the run, and exits with status 1 if there are any.
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
        say(f"Photographs of the person, not deleted by freqlab ({len(photographs):,}):")
        for path in photographs:
            say(f"  {path}")
    if mentions:
        say("The name of the person, as a whole word, remains in")
        for where, count in mentions.items():
            say(f"  {where}: {count:,}")
    if mentions and not accept:
        say("Edit these and repeat the command, or pass --accept.")
        raise typer.Exit(1)


@app.command()
def unlock(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    force: Annotated[
        bool,
        typer.Option("--force", help="Remove the lock even if the process that holds it is alive."),
    ] = False,
) -> None:
    """Remove the lock of a run whose process has ended, and print the holder."""
    import freqlab as fl

    with stoppable():
        holder = fl.store.unlock(store, force=force)
    if holder is None:
        say(f"{store}: there is no lock")
    else:
        say(f"{store}: the lock was removed; {holder}")

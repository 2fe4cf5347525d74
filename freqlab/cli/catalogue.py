"""Commands about known face sets, known models and compiled networks."""

from __future__ import annotations

from typing import Annotated

import typer

from freqlab.cli.application import app
from freqlab.cli.options import BatchOption, DeviceOption, ModelsOption, PrecisionOption
from freqlab.cli.output import print_table, say


@app.command()
def datasets() -> None:
    """List the face sets known by name: layout, terms of use, citation."""
    import freqlab as fl

    print_table(fl.datasets.known(), lines=True)
    say("freqlab downloads nothing. Load a set with --faces NAME --root FOLDER.")


@app.command()
def models() -> None:
    """List the models known by name, with the location or source of their weights."""
    import freqlab as fl

    print_table(fl.models.known())
    say(
        "Other models: timm:<architecture>,checkpoint=FILE   timm:hf_hub:<owner>/<model>\n"
        "              FILE.onnx\n"
        "              FILE.pt,trust=true (TorchScript or torch.export; such files contain\n"
        "              programs, which are executed only if trusted)\n"
        "Options of each: ,name=... ,mean=... ,std=... ,template=..."
    )


@app.command(name="compile")
def compile_networks(
    model: ModelsOption,
    device: DeviceOption = "auto",
    batch_size: BatchOption = None,
    precision: PrecisionOption = "float32",
) -> None:
    """Compile networks in advance and cache them; this takes about half a minute per network."""
    from freqlab.engine.compilation import compile_ahead
    from freqlab.models.loading import load_model
    from freqlab.models.precision import in_precision

    for name in model:
        loaded = in_precision(load_model(name, device=device), precision)
        say(f"{loaded.name}: {compile_ahead(loaded, batch_size=batch_size)}")


@app.command()
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove all compiled networks from the cache.")
    ] = False,
) -> None:
    """List the compiled networks in the cache; each contains a copy of its weights."""
    from freqlab.engine.compiled_packages import (
        CACHE_VARIABLE,
        cache_folder,
        clear_packages,
        packages,
    )

    folder = cache_folder()
    if folder is None:
        say(f"Compiled networks are not cached ({CACHE_VARIABLE}=off, or no home directory).")
        return
    if clear:
        say(f"{folder}: removed {clear_packages():,} compiled network(s)")
        return
    compiled = packages()
    for package in compiled:
        batch, precision = package.facts["input"][0], package.facts["precision"]
        say(
            f"{package.path.name}: {package.model}, {precision}, batches of {batch}, "
            f"{package.facts['device']}, {package.n_bytes / 1e6:.1f} MB"
        )
    say(f"{folder}: {len(compiled):,} compiled network(s)")

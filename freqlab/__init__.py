"""Frequency-domain explanations of face-recognition decisions.

Remove a band of spatial frequencies from a face, and compare the pair again: the change of the
similarity is the influence of that band. Five names do most of the work:

    ``fl.load_faces(source)``
        photographs of people, from a folder, a CSV file or a set known by name
    ``fl.make_pairs(faces)``
        the pairs to compare; ``read_pairs`` reads a list of pairs instead
    ``fl.influence(faces, pairs, models=[...], store=...)``
        the influence of each band on each pair, as an ``xarray.Dataset`` that is kept in a store
    ``fl.inspect(result)``
        one pair in a notebook: remove bands, and see the faces and the similarity
    ``fl.report(name)``
        a page on one subject, such as ``"explore"`` or ``"bias"``

For example, with the faces and the network of the demo::

    import freqlab as fl

    faces = fl.load_faces("orl")
    pairs = fl.make_pairs(faces, n_pairs=20)
    result = fl.influence(faces, pairs, models=["mobilefacenet"], store="runs/orl.zarr")
    fl.inspect(result)

Where the rest is:

Before and after these
    ``load_model`` and ``wrap_model`` make a ``Model`` of weights or of any callable; ``rings``,
    ``octaves``, ``sectors``, ``polar``, ``wavelets``, ``channels``, ``custom`` and ``parse_bands``
    make ``Bands``; ``pair_blocks`` makes all pairs of a large set of ``Faces``;
    ``plan`` estimates the cost of a run; ``embed`` and ``verify`` need no band; ``open_run``,
    ``open_influence`` and ``open_embeddings`` open what is stored; ``inspect`` returns an
    ``Inspector``. ``with_columns`` adds columns of faces to a result, ``concat`` joins results, and
    ``compare`` shows what changed between them. ``identify`` searches faces in a gallery.

Subjects, each with ``study(...)`` and ``summary(study)``
    ``verification`` (error rates), ``bias`` (groups), ``resolution`` (cross-resolution),
    ``morphing`` (attacks and manipulated images), ``faithfulness`` (tests of explanations),
    ``saliency`` (other methods beside this one), ``improve`` (quality, calibration and fusion);
    ``adversarial`` holds adversarial faces and their detection.

Tools
    ``plots``, ``results`` (profiles, selection, sentences), ``store`` (tables of results, checks,
    forgetting), ``bands``, ``faces``, ``images``, ``datasets``, ``models``, ``statistics``,
    ``edits``, ``inspector`` (``save`` writes a static page), ``engine``, ``testing`` (small data
    for tests and documentation), ``errors``; all errors are a ``FreqlabError``.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

# What is exported, and from where, stands in __init__.pyi, which type checkers read too; a name
# is imported when it is first used, so that `import freqlab` costs no import of PyTorch.
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

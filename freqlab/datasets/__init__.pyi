from .protocols import read_pairs
from .registry import FaceSet, known, load_faces, names
from .tables import load_csv, load_folder, load_orl

__all__ = [
    "FaceSet",
    "known",
    "load_csv",
    "load_faces",
    "load_folder",
    "load_orl",
    "names",
    "read_pairs",
]

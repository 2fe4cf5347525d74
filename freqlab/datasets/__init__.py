"""Face sets by name, by folder, by table. Nothing is ever downloaded."""

from freqlab.datasets.listing import IMAGE_SUFFIXES
from freqlab.datasets.registry import FaceSet, face_set_names, known_face_sets, load_faces
from freqlab.datasets.tables import load_csv, load_folder, load_orl

__all__ = [
    "IMAGE_SUFFIXES",
    "FaceSet",
    "face_set_names",
    "known_face_sets",
    "load_csv",
    "load_faces",
    "load_folder",
    "load_orl",
]

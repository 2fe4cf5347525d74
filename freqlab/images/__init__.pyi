from .alignment import detect_faces
from .templates import TEMPLATES, Template, register_template, template

__all__ = [
    "TEMPLATES",
    "Template",
    "detect_faces",
    "register_template",
    "template",
]

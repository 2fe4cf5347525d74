"""Kind of a file, by its first bytes and its suffix, and the readable image formats.

This is the only list of the formats that Pillow is allowed to open. It excludes formats that call
an external program (PostScript calls Ghostscript) and formats that are not pictures of faces,
whatever the name of the file.
"""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "TEXT_FILE",
    "FileKind",
    "kind_of_content",
    "kind_of_file",
    "kind_of_suffix",
    "readable_formats",
    "suffix_of",
    "why_not_opened",
    "why_unread",
]

FORMATS: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif", ".heics", ".heifs"),
    "QOI": (".qoi",),
    "PSD": (".psd",),
    "DDS": (".dds",),
    "PCX": (".pcx",),
    "SGI": (".sgi", ".bw", ".rgb", ".rgba"),
    "SUN": (".ras",),
    "DIB": (".dib",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),  # last, because it has no signature
}
"""Supported image formats, as far as this Pillow reads them: Pillow's names, with extensions.

``HEIF`` is read by the plug-in pillow-heif. Vector graphics, documents, icons, videos and the
formats of single programs are left out.
"""

IMAGE_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
"""Extensions by which image files are recognised, in any letter case."""

_HEAD = 1024
_LONGEST_SUFFIX = 12
_FEATURES = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
_REMEDIES = {
    "HEIF": "HEIC photographs need a plug-in: pip install 'freqlab[heic]' (pillow-heif)",
    "AVIF": "this Pillow was built without AVIF, which it has from version 11.3 on",
    "JPEG2000": "this Pillow was built without JPEG 2000",
    "WEBP": "this Pillow was built without WebP",
}


@dataclass(frozen=True)
class FileKind:
    """Kind of a file, and what to do with it if it was given as a face set.

    Parameters
    ----------
    what
        Description with its article: "an archive".
    advice
        What to do with the file, as an imperative.
    image
        Whether it holds pictures that could be photographs of faces.
    """

    what: str
    advice: str
    image: bool = False


_TABLE = "save it as a CSV file with the columns path and subject, or give fl.Faces its table"
_ARCHIVE = FileKind("an archive", "unpack it and give the folder")
_COMPRESSED = FileKind("a compressed file", "unpack it first")
_OFFICE = FileKind("a spreadsheet", f"{_TABLE} (pandas.read_excel reads it)")
_WEIGHTS = FileKind("a model's weights", "models are given by models= (--model)")
_ARRAYS = FileKind("a file of arrays", "load it and give the images to fl.Faces(table, images=...)")
_RECORDS = FileKind(
    "a file of MXNet records, as insightface gives out training sets",
    "write its images into a folder subject/image (mxnet.recordio.MXIndexedRecordIO reads it), or "
    "give a .bin file of pairs that lies beside it",
)
_VIDEO = FileKind("a video", "write its frames into a folder subject/image")
_RAW = FileKind(
    "a raw photograph of a camera", "develop it first, into PNG, TIFF or JPEG", image=True
)
_VECTOR = FileKind("a vector graphic or a document", "give photographs")
_PHOTOGRAPH = FileKind(
    "one image", "faces are a folder of subject/image files or a table with a row for each"
)
TEXT_FILE = FileKind(
    "a text file",
    "a table of faces begins with a line of column names, path and subject among them; a list of "
    "pairs is read by fl.read_pairs(file, faces) (--pairs)",
)

_BY_SUFFIX: dict[str, FileKind] = {
    **dict.fromkeys(
        (".zip", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst", ".7z", ".rar"), _ARCHIVE
    ),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".z"), _COMPRESSED),
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), _OFFICE),
    ".parquet": FileKind(
        "a Parquet table",
        "write the images that it holds into a folder subject/image; if it holds paths, "
        "pandas.read_parquet(file).to_csv(...) makes a table of faces",
    ),
    **dict.fromkeys(
        (".feather", ".arrow"),
        FileKind("an Arrow table", f"{_TABLE} (pandas.read_feather reads it)"),
    ),
    **dict.fromkeys(
        (".json", ".jsonl", ".ndjson"),
        FileKind("a JSON file", f"{_TABLE} (pandas.read_json reads it)"),
    ),
    **dict.fromkeys((".yaml", ".yml", ".toml", ".xml"), FileKind("a file of settings", _TABLE)),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), FileKind("a database", _TABLE)),
    **dict.fromkeys((".rec", ".idx"), _RECORDS),
    **dict.fromkeys(
        (".tfrecord", ".tfrecords"),
        FileKind("a file of TensorFlow records", "write its images into a folder subject/image"),
    ),
    **dict.fromkeys(
        (".mdb", ".lmdb"),
        FileKind("an LMDB database", "write its images into a folder subject/image"),
    ),
    ".lst": FileKind(
        "a list of MXNet (number, label, path)",
        "make a CSV file of it, with the columns subject and path",
    ),
    **dict.fromkeys((".npy", ".npz", ".mat", ".h5", ".hdf5", ".hdf", ".pkl", ".pickle"), _ARRAYS),
    **dict.fromkeys(
        (".pt", ".pth", ".ckpt", ".onnx", ".safetensors", ".tflite", ".engine", ".caffemodel"),
        _WEIGHTS,
    ),
    **dict.fromkeys(
        (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"),
        _VIDEO,
    ),
    **dict.fromkeys(
        (".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".dng", ".raf", ".rw2", ".orf", ".pef"),
        _RAW,
    ),
    ".jxl": FileKind("a JPEG XL image", "convert it to PNG or JPEG", image=True),
    **dict.fromkeys(
        (".pdf", ".eps", ".ps", ".ai", ".svg", ".wmf", ".emf", ".doc", ".docx", ".pptx"), _VECTOR
    ),
    **dict.fromkeys(
        (".ico", ".icns", ".cur", ".xpm", ".xbm"), FileKind("an icon", "give photographs")
    ),
    **dict.fromkeys(
        (".html", ".htm", ".mhtml"), FileKind("a web page", "see whether a download went wrong")
    ),
    **dict.fromkeys((".ipynb", ".py", ".m", ".sh"), FileKind("a program", "give photographs")),
    **dict.fromkeys((".txt", ".md", ".list", ".dat", ".log", ".tab", ".csv", ".tsv"), TEXT_FILE),
}

_LFS = FileKind("a Git LFS pointer, not the file itself", "fetch the file by 'git lfs pull'")
_BY_CONTENT: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"version https://git-lfs.github.com/spec/", _LFS),
    (0, b"\x1f\x8b", _COMPRESSED),
    (0, b"BZh", _COMPRESSED),
    (0, b"\xfd7zXZ\x00", _COMPRESSED),
    (0, b"\x28\xb5\x2f\xfd", _COMPRESSED),
    (0, b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (0, b"Rar!\x1a\x07", _ARCHIVE),
    (257, b"ustar", _ARCHIVE),
    (0, b"PK\x03\x04", _ARCHIVE),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OFFICE),
    (0, b"PAR1", _BY_SUFFIX[".parquet"]),
    (0, b"ARROW1", _BY_SUFFIX[".arrow"]),
    (0, b"SQLite format 3\x00", _BY_SUFFIX[".sqlite"]),
    (0, b"\x89HDF\r\n\x1a\n", _ARRAYS),
    (0, b"\x93NUMPY", _ARRAYS),
    (0, b"MATLAB 5.0", _ARRAYS),
    (0, b"\x0a\x23\xd7\xce", _RECORDS),
    (0, b"%PDF", FileKind("a PDF document", "give photographs")),
    (0, b"%!PS", FileKind("a PostScript document", "give photographs")),
    (0, b"\xc5\xd0\xd3\xc6", FileKind("a PostScript document", "give photographs")),
    (0, b"\xd7\xcd\xc6\x9a", _VECTOR),
    (0, b"\x1a\x45\xdf\xa3", _VIDEO),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"\xff\x0a", _BY_SUFFIX[".jxl"]),
    (0, b"\x00\x00\x00\x0cJXL ", _BY_SUFFIX[".jxl"]),
)
_IMAGES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"BM", "BMP"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
    (0, b"qoif", "QOI"),
    (0, b"8BPS", "PSD"),
    (0, b"DDS ", "DDS"),
    (0, b"\x59\xa6\x6a\x95", "SUN"),
    *((0, b"P%d" % digit + end, "PPM") for digit in range(1, 7) for end in (b"\n", b" ", b"\r")),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_EMPTY = FileKind("empty", "see whether a download or a copy went wrong")


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """List those :data:`FORMATS` that are readable here, for ``PIL.Image.open(formats=...)``."""
    from PIL import Image, features

    Image.init()
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    built = {name: feature for name, feature in _FEATURES.items() if _known_feature(feature)}
    return tuple(
        name
        for name in FORMATS
        if name in Image.OPEN and (name not in built or features.check(built[name]))
    )


def _known_feature(name: str) -> bool:
    """Whether Pillow reports a feature that it was built with; a plug-in may add it otherwise."""
    from PIL import features

    return name in features.modules or name in features.codecs


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case, with its dot; empty if there is none."""
    suffix = os.path.splitext(name.strip())[1].lower()
    return suffix if 1 < len(suffix) <= _LONGEST_SUFFIX and " " not in suffix else ""


def why_unread(suffix: str) -> str:
    """Explain why images with this suffix are not readable here; empty if they are."""
    for name, suffixes in FORMATS.items():
        if suffix in suffixes and name not in readable_formats():
            return _REMEDIES.get(name, f"this Pillow does not read {name}")
    return ""


def kind_of_suffix(suffix: str) -> FileKind | None:
    """Return the kind of files with this suffix, None if the suffix is not known."""
    return _PHOTOGRAPH if suffix in IMAGE_SUFFIXES else _BY_SUFFIX.get(suffix)


def kind_of_content(head: bytes) -> FileKind | None:
    """Return the kind of a file by its first bytes, None if they are not known."""
    if not head:
        return _EMPTY
    if head[4:8] == b"ftyp":
        return _kind_of_boxes(head)
    for at, signature, name in _IMAGES:
        if head.startswith(signature, at):
            return _image(name)
    for at, signature, kind in _BY_CONTENT:
        if head.startswith(signature, at):
            return _OFFICE if kind is _ARCHIVE and b"[Content_Types].xml" in head else kind
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begin.startswith((b"<!doctype html", b"<html")):
        return _BY_SUFFIX[".html"]
    if begin.startswith((b"<svg", b"<?xml")) and b"<svg" in begin:
        return _BY_SUFFIX[".svg"]
    return None


def why_not_opened(content: bytes) -> str:
    """Describe bytes that no image reader accepts, and what would help."""
    kind = kind_of_content(content[:_HEAD])
    if kind is None:
        return "not an image in a supported format"
    if kind.image and kind.advice == _PHOTOGRAPH.advice:
        return f"{kind.what} that is damaged"
    return f"{kind.what}: {kind.advice}"


def kind_of_file(path: Path) -> FileKind:
    """Return the kind of an existing file, by its content or otherwise by its suffix."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block forever
            return FileKind("not a regular file", "give a folder or a table")
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        return FileKind("a file that cannot be read", f"{error.strerror or error}")
    by_content, by_suffix = kind_of_content(head), kind_of_suffix(suffix_of(path.name))
    if suffix_of(path.stem) == ".tar" and by_suffix is _COMPRESSED:
        return _ARCHIVE
    if by_content in (_COMPRESSED, _ARCHIVE) and by_suffix is not None:
        # tables, weights and arrays are zip files or compressed too
        return by_content if by_suffix in (TEXT_FILE, _PHOTOGRAPH) else by_suffix
    if by_content is not None:
        return by_content
    if by_suffix is not None and by_suffix is not _PHOTOGRAPH:
        return by_suffix
    if b"\x00" in head:
        return FileKind("a file of no known kind", "give a folder of subject/image files")
    return TEXT_FILE


def _kind_of_boxes(head: bytes) -> FileKind:
    """Return the kind of a file of the ISO base media format, by its brands."""
    size = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, min(size, len(head)), 4))]
    if any(brand in (b"avif", b"avis") for brand in brands):
        return _image("AVIF")
    if any(brand in _HEIF_BRANDS for brand in brands):
        return _image("HEIF")
    return _RAW if b"crx " in brands else _VIDEO


def _image(name: str) -> FileKind:
    """Describe an image of one of the :data:`FORMATS`, and what is needed to read it."""
    spoken = {"HEIF": "HEIC", "JPEG2000": "JPEG 2000", "WEBP": "WebP"}.get(name, name)
    article = "an" if spoken == "AVIF" else "a"
    return FileKind(
        f"{article} {spoken} image",
        why_unread(FORMATS[name][0]) or _PHOTOGRAPH.advice,
        image=True,
    )

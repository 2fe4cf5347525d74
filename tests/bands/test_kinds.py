"""Every kind of bands: identities of the decomposition, and truth from elsewhere."""

import json
import math

import numpy as np
import pytest
import pywt
import torch
from scipy import fft
from skimage import color

import freqlab as fl
from freqlab.bands.base import Bands, MergedBands
from freqlab.bands.labels import DC
from freqlab.bands.parsing import bands_from, parse_bands
from freqlab.errors import BandError, FreqlabError, ParameterError, UnknownNameError

SIZES = [(32, 32), (31, 31), (32, 24), (27, 30)]
EDGES = [0, 3, 6, 12, math.inf]


def grid_of_eight(fy, fx):
    """The harmonics of blocks of eight pixels, and everything else."""
    return np.where((fy * 8 % 1 == 0) & (fx * 8 % 1 == 0), 0, 1)


def diamond(fy, fx):
    """Within a diamond around zero, and outside it."""
    return np.where(np.abs(fy) + np.abs(fx) < 0.3, 0, 1)


def kinds(height, width):
    return {
        "rings": fl.rings(edges=EDGES),
        "rings, mirror": fl.rings(edges=EDGES, extension="mirror"),
        "octaves": fl.octaves(high=16),
        "octaves, mirror": fl.octaves(high=12, extension="mirror"),
        "sectors": fl.sectors(6),
        "sectors, mirror": fl.sectors(5, low=2, extension="mirror"),
        "polar": fl.polar(fl.rings(edges=EDGES[1:]), 4),
        "polar, mirror": fl.polar(fl.octaves(4, 12), 3, extension="periodic"),
        "custom": fl.custom(diamond, size=(height, width)),
        "custom, mirror": fl.custom(diamond, size=(height, width), extension="mirror"),
        "wavelets": fl.wavelets("db2", 2),
        "wavelets, biorthogonal": fl.wavelets("bior2.2", 1),
        "channels": fl.channels(),
        "channels of rings": fl.channels(fl.rings(edges=EDGES)),
        "channels, mirror": fl.channels(fl.sectors(3, extension="mirror")),
        "merged": fl.sectors(7).broad(3),
    }


KINDS = list(kinds(8, 8))


def images_of(height, width, n=2, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 255 * torch.rand(n, 3, height, width, generator=generator, dtype=dtype)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_components_and_the_kept_part_sum_to_the_image(kind, height, width):
    bands = kinds(height, width)[kind]
    parts, images = bands.decompose(height, width), images_of(height, width)
    n = len(bands)
    components = parts.components(images)
    assert components.shape == (2, n, 3, height, width)
    everything = torch.ones(1, n, dtype=torch.bool)
    kept = parts.remove(images, everything)[:, 0]
    exact = 1e-4 if kind.startswith("wavelets") else 1e-9  # maps of wavelets are float32
    torch.testing.assert_close(components.sum(1) + kept, images, rtol=0, atol=exact)
    torch.testing.assert_close(parts.keep(images, ~everything)[:, 0], kept, rtol=0, atol=exact)
    if not kind.startswith("wavelets"):  # details beside a mirrored border have a small mean
        torch.testing.assert_close(kept.mean((2, 3)), images.mean((2, 3)), rtol=0, atol=1e-9)
    sets = torch.rand(5, n, generator=torch.Generator().manual_seed(1)) < 0.5
    sets[0] = False
    removed, alone = parts.remove(images, sets), parts.keep(images, sets)
    torch.testing.assert_close(removed[:, 0], images, rtol=0, atol=exact)
    torch.testing.assert_close(
        removed + alone, (images + kept)[:, None].expand_as(removed), rtol=0, atol=exact
    )
    summed = torch.einsum("sb,nbchw->nschw", sets.double(), components)
    torch.testing.assert_close(parts.removed(images, sets), summed, rtol=0, atol=exact)
    energy = components.square().mean((2, 3, 4))
    torch.testing.assert_close(parts.energy(images), energy, rtol=1e-6, atol=1e-9)
    assert (energy[:, ~torch.from_numpy(parts.present)] == 0).all()
    assert (energy[:, torch.from_numpy(parts.present)] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_close(kind):
    bands = kinds(32, 24)[kind]
    parts, images = bands.decompose(32, 24), images_of(32, 24)
    sets = torch.eye(len(bands), dtype=torch.bool)
    single = parts.remove(images.float(), sets)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), parts.remove(images, sets), rtol=0, atol=3e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_declarations_make_the_same_bands_again(kind):
    bands = kinds(32, 24)[kind]
    again = bands_from(json.loads(json.dumps(bands.declaration())))
    assert isinstance(bands, Bands)
    assert again == bands
    assert again.key == bands.key
    assert again.key.startswith(bands.kind)
    assert again.names == bands.names
    others = [other for name, other in kinds(32, 24).items() if name != kind]
    assert bands not in others
    assert len({other.key for other in others} | {bands.key}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_band_has_a_name_and_a_frequency(kind):
    bands = kinds(32, 24)[kind]
    n = len(bands)
    assert len(set(bands.names)) == n == len(bands.bounds) == len(bands.frequency)
    assert np.isfinite(bands.frequency).all()
    assert (bands.bounds[:, 0] <= bands.frequency).all()
    assert (bands.frequency <= bands.bounds[:, 1]).all()
    assert len({bands.text(band) for band in range(n)}) == n
    for values, attrs in bands.coordinates.values():
        assert len(values) == n
        assert attrs["long_name"]
    if bands.orientation is not None:
        assert np.nanmin(bands.orientation) >= 0
        assert np.nanmax(bands.orientation) < 180


def wave(ky, kx, height, width):
    y, x = np.mgrid[0:height, 0:width]
    return np.cos(2 * np.pi * (ky * y / height + kx * x / width) + 0.7)


@pytest.mark.parametrize(("height", "width"), [(112, 112), (65, 97), (96, 112)])
@pytest.mark.parametrize("n", [2, 3, 4, 8, 12])
def test_a_grating_lies_in_the_sector_of_its_stripes(n, height, width):
    """Along its stripes, of which the direction is tried out, a grating does not change."""
    bands = fl.sectors(n)
    parts = bands.decompose(height, width)
    rng = np.random.default_rng(n)
    for ky, kx in [(5, 0), (-5, 0), (0, 7), *rng.integers(-30, 31, (20, 2)).tolist()]:
        if ky == kx == 0:
            continue
        image = torch.from_numpy(wave(ky, kx, height, width)).expand(1, 3, -1, -1)
        energy = parts.energy(image)[0].numpy()
        (sector,) = np.flatnonzero(energy > 1e-9 * energy.sum())
        # the change along a direction, upward and to the right, at both edges of the sector
        edges = np.radians(bands.orientation[sector] + np.array([-90, 90]) / n)
        change = kx / width * np.cos(edges) - ky / height * np.sin(edges)
        assert change[0] * change[1] <= 1e-12


def test_sectors_are_of_the_structure():
    """Stripes that run horizontally, vertically, and like a slash and a backslash."""
    y, x = np.mgrid[0:64, 0:64]
    images = [np.cos(2 * np.pi * 6 * t / 64) for t in (y, y + x, x, y - x)]
    parts = fl.sectors(4).decompose(64, 64)
    for sector, image in enumerate(images):
        energy = parts.energy(torch.from_numpy(image)[None, None].expand(1, 3, -1, -1))[0]
        assert int(energy.argmax()) == sector
        assert float(energy[sector]) == pytest.approx(0.5)
    assert fl.sectors(4).names == ["0°", "45°", "90°", "135°"]


@pytest.mark.parametrize(("height", "width"), [(31, 31), (32, 32), (31, 45), (32, 20), (28, 33)])
@pytest.mark.parametrize("extension", ["periodic", "mirror"])
def test_turning_an_image_permutes_sectors(height, width, extension):
    """All but the one coefficient that is its own rotation, the finest checkerboard."""
    image = images_of(height, width, n=1)
    if height % 2 == width % 2 == 0:
        y, x = np.mgrid[0:height, 0:width]
        board = torch.from_numpy((-1.0) ** (x + y))
        image = image - (image * board).mean((2, 3), keepdim=True) * board
    bands = fl.sectors(8, extension=extension)
    energy = bands.decompose(height, width).energy(image)
    turned = bands.decompose(width, height).energy(torch.rot90(image, 1, (2, 3)))
    torch.testing.assert_close(turned, torch.roll(energy, 4, dims=1), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_sectors_by_the_full_complex_transform(height, width):
    """With the Nyquist lines left out, whose sign is not defined."""
    image = images_of(height, width, n=1)[0, 0].numpy()
    full = np.fft.fft2(image)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    nyquist = (np.abs(fy) == 0.5) | (np.abs(fx) == 0.5)
    full[nyquist | ((fy == 0) & (fx == 0))] = 0
    image = np.fft.ifft2(full).real
    angle = np.degrees(np.arctan2(fx, fy)) % 180
    parts = fl.sectors(8).decompose(height, width)
    components = parts.components(torch.from_numpy(image)[None, None])[0, :, 0].numpy()
    for sector in range(8):
        distance = np.abs((angle - 22.5 * sector + 90) % 180 - 90)
        made = np.fft.ifft2(full * (distance < 11.25))
        assert np.abs(made.imag).max() < 1e-12
        np.testing.assert_allclose(components[sector], made.real, atol=1e-9)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_mirrored_rings_are_bands_of_the_cosine_transform(height, width):
    """The transform of a mirrored image is the discrete cosine transform (type 2)."""
    bands = fl.rings(edges=EDGES, extension="mirror")
    images = images_of(height, width)
    components = bands.decompose(height, width).components(images).numpy()
    transform = fft.dctn(images.numpy(), axes=(2, 3), norm="ortho")
    ky, kx = np.arange(height)[:, None] / (2 * height), np.arange(width)[None] / (2 * width)
    radius = np.hypot(ky, kx) * width
    for band, (lower, upper) in enumerate(bands.bounds):
        inside = (radius >= lower - 1e-9) & (radius < upper - 1e-9) & (radius > 0)
        made = fft.idctn(transform * inside, axes=(2, 3), norm="ortho")
        np.testing.assert_allclose(components[:, band], made, atol=1e-9)


def test_mirroring_keeps_the_border_from_leaking():
    """A ramp is a step at the border of the periodic image, and none of the mirrored one."""
    ramp = torch.arange(64.0, dtype=torch.float64).expand(1, 3, 64, 64)
    periodic, mirrored = (
        fl.rings(edges=[16, math.inf], extension=extension).decompose(64, 64).energy(ramp)
        for extension in ("periodic", "mirror")
    )
    assert float(mirrored) < 0.01 * float(periodic)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(
    ("wavelet", "level"), [("haar", 3), ("db2", 2), ("bior2.2", 2), ("sym4", 1)]
)
def test_subbands_are_those_of_pywavelets(height, width, wavelet, level):
    bands = fl.wavelets(wavelet, level)
    images = images_of(height, width, dtype=torch.float32) / 255
    removed = bands.decompose(height, width).remove(images, torch.eye(len(bands), dtype=torch.bool))
    for band in range(len(bands)):
        coefficients = pywt.wavedec2(images.double().numpy(), wavelet, "symmetric", level)
        at, which = divmod(band, 3)  # from the coarsest scale on; cH, cV, cD
        details = list(coefficients[1 + at])
        details[which] = np.zeros_like(details[which])
        coefficients[1 + at] = tuple(details)
        made = pywt.waverec2(coefficients, wavelet, "symmetric")[..., :height, :width]
        np.testing.assert_allclose(removed[:, band], made, atol=1e-5)


def test_subbands_are_named_by_their_structure():
    bands = fl.wavelets("db2", 3)
    assert bands.names[0] == "scale 3, horizontal"
    assert bands.names[-1] == "scale 1, diagonal"
    parts = bands.decompose(64, 64)
    y, x = np.mgrid[0:64, 0:64]
    for cycles, scale in ((24, 1), (12, 2), (6, 3)):
        for k, t in enumerate((y, x)):
            image = torch.from_numpy(np.cos(2 * np.pi * cycles * t / 64))[None, None]
            top = int(parts.energy(image.expand(1, 3, -1, -1))[0].argmax())
            assert bands.names[top] == f"scale {scale}, {('horizontal', 'vertical')[k]}"
            assert bands.orientation[top] == 90 * k
            lower, upper = bands.bounds[top]
            assert lower <= cycles / 64 < upper


def test_luminance_and_chroma_by_another_library():
    images = images_of(16, 20)
    pixels = images.permute(0, 2, 3, 1).numpy() / 255
    ycbcr = color.rgb2ycbcr(pixels)
    ycbcr[..., 1:] = 128
    grey = 255 * color.ycbcr2rgb(ycbcr)
    parts = fl.channels().decompose(16, 20)
    luminance, chroma = parts.components(images)[:, :].unbind(1)
    expected = grey - grey.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(luminance.permute(0, 2, 3, 1), expected, atol=1e-2)
    rest = 255 * pixels - grey
    expected = rest - rest.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(chroma.permute(0, 2, 3, 1), expected, atol=1e-2)


def test_a_grey_photograph_has_no_chroma():
    grey = images_of(16, 20, dtype=torch.float32)[:, :1].expand(-1, 3, -1, -1)
    for bands in (fl.channels(), fl.channels(fl.rings(edges=EDGES))):
        energy = bands.decompose(16, 20).energy(grey)
        half = len(bands) // 2
        assert (energy[:, half:] == 0).all()
        assert (energy[:, :half] > 0).all()
        np.testing.assert_array_equal(
            bands.coordinates["channel"].values, ["luminance"] * half + ["chroma"] * half
        )


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_own_maps_are_the_rings_that_they_hold(height, width):
    bands = fl.rings(edges=EDGES)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]) * width
    full = np.searchsorted([3, 6, 12], radius + 1e-9, side="right")
    own = fl.custom(full, names=["a", "b", "c", "d"])
    np.testing.assert_array_equal(own.label_map(height, width), bands.label_map(height, width))
    by_masks = fl.custom(np.stack([full == k for k in range(4)]), names=["a", "b", "c", "d"])
    assert by_masks == own
    assert own.label_map(height, width)[0, 0] == DC
    assert own.sizes == [(height, width)]
    images = images_of(height, width)
    torch.testing.assert_close(
        own.decompose(height, width).components(images),
        bands.decompose(height, width).components(images),
    )
    with pytest.raises(BandError, match=f"for images of {height} x {width} pixels .* 40 x 40"):
        own.label_map(40, 40)


def test_own_maps_from_a_file(tmp_path):
    labels = fl.custom(grid_of_eight, size=(16, 16)).label_map(16, 16)
    full = np.concatenate([labels, np.roll(labels[::-1, 1:-1][:, ::-1], 1, axis=0)], axis=1)
    np.save(tmp_path / "own.npy", full)
    assert parse_bands(f"custom:{tmp_path}/own.npy") == fl.custom(grid_of_eight, size=(16, 16))
    (tmp_path / "text.npy").write_text("labels")
    with pytest.raises(BandError, match="no .npy file of numbers"):
        fl.custom(tmp_path / "text.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, []], object), allow_pickle=True)
    with pytest.raises(BandError, match="no .npy file of numbers"):
        fl.custom(tmp_path / "objects.npy")
    with pytest.raises(BandError, match="there is no file"):
        parse_bands("custom:nowhere.npy")


def symmetric(value=0):
    labels = np.zeros((8, 8))
    labels[0, 1:] = value
    return labels


def masks(overlapping=False):
    first = np.zeros((8, 8), bool)
    first[0] = True
    return np.stack([first, np.ones_like(first) if overlapping else ~first])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            masks(overlapping=True),
            r"masks of bands \[0, 1\] overlap, first at coefficient \(0, 1\)",
        ),
        (np.stack([*masks(), np.zeros((8, 8), bool)]), r"bands \[2\] hold no coefficient"),
        (symmetric(np.nan), "7 of 64 are NaN or infinite"),
        (symmetric(0.5), "0.5 is not a whole number"),
        (symmetric(2), "no coefficient has the label 1, and the highest is 2"),
        (np.full((8, 8), -1), "no coefficient belongs to a band"),
        (np.arange(64).reshape(8, 8) - 1, "not symmetric under a change of sign"),
        (np.fft.fftshift(np.arange(8) % 7 == 0)[:, None] * np.ones((1, 8), int), "not symmetric"),
        (np.zeros(8, int), r"shape \(8,\) must be"),
        (np.zeros((8, 8), bool), r"a single mask must have the shape \(1, height, width\)"),
        (np.full((8, 8), "a"), "must be whole numbers"),
        (lambda fy, fx: fy[:3], "the function of custom bands returned labels of shape"),
    ],
)
def test_bad_label_maps(labels, message):
    with pytest.raises(BandError, match=message):
        fl.custom(labels, size=(8, 8))


def test_a_centred_map_is_recognised():
    """Of an odd size; of an even one, a centred map is symmetric in either order."""
    for size in (16, 17):
        fy, fx = np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None]
        labels = np.digitize(np.hypot(fy, fx), [0.2, 0.4])
        centred = np.fft.fftshift(labels)
        assert fl.custom(centred, centred=True) == fl.custom(labels)
    with pytest.raises(BandError, match="the zero frequency is in the middle: reorder"):
        fl.custom(centred)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "1 names for 2 bands"),
        (["a", "a"], "repeats a name"),
        ("ab", "must be a list of texts"),
        ([1, 2], "must be a list of texts"),
    ],
)
def test_bad_names_of_own_maps(names, message):
    with pytest.raises(BandError, match=message):
        fl.custom(masks(), names=names)


@pytest.mark.parametrize("n", [1, 0, -8, 2.5, "8", None, True, math.nan])
def test_bad_sectors(n):
    with pytest.raises(BandError, match="n=.* must be a whole number of sectors from 2 to 3,600"):
        fl.sectors(n)
    with pytest.raises(BandError, match="sectors=.* must be a whole number of sectors"):
        fl.polar(8, n)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fl.sectors(8, low=9, high=3), "low=9 must be below high=3"),
        (lambda: fl.sectors(8, low=-1), "low=-1 must be a radius of 0 or more"),
        (lambda: fl.sectors(8, unit="furlongs"), "unknown band unit"),
        (lambda: fl.sectors(8, extension="zero"), "unknown extension 'zero'"),
        (lambda: fl.polar("rings", 8), "rings='rings' must be rings, octaves, or the width"),
        (lambda: fl.polar(fl.rings(), 8, unit="cycles/pixel"), "the rings have 'cycles/image'"),
        (lambda: fl.wavelets("db222"), "unknown wavelet 'db222'; allowed: .* Did you mean 'db22'"),
        (
            lambda: fl.wavelets("morl"),
            "unknown wavelet 'morl'; .* families bior, coif, db, dmey, haar, rbio, sym, such as",
        ),
        (lambda: fl.wavelets("db2", 0), "level=0 must be a whole number of 1 or more"),
        (lambda: fl.wavelets("db2", 1.5), "level=1.5 must be a whole number"),
        (
            lambda: fl.wavelets("db2", 6).decompose(112, 112),
            "level=6 is too deep for crops of 112 x 112 pixels.*allows levels up to 5",
        ),
        (lambda: fl.wavelets().label_map(112, 112), "'wavelets' are not parts of the plane"),
        (lambda: fl.channels().label_map(112, 112), "'channels' are not parts of the plane"),
        (lambda: fl.channels(fl.wavelets()), "within=.* must be rings, octaves, sectors"),
        (lambda: fl.channels("rings:8"), "within='rings:8' must be"),
        (lambda: fl.sectors(8).decompose(0, 4), "height=0, width=4: both must be positive"),
        (lambda: fl.wavelets().decompose(0, 4), "height=0, width=4: both must be positive"),
        (lambda: fl.channels().decompose(0, 4), "height=0, width=4: both must be positive"),
        (lambda: fl.sectors(3, unit="cycles/eyes").decompose(8, 8), "eye_distance=None"),
        (lambda: fl.custom(np.zeros((7, 8), int), extension="mirror"), "twice as high and wide"),
        (lambda: bands_from({"kind": "curvelets"}), "unknown kind of bands 'curvelets'"),
    ],
)
def test_bad_declarations(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


def test_images_of_another_size_are_refused():
    images = images_of(8, 8)
    for name, bands in kinds(32, 24).items():
        parts = bands.decompose(32, 24)
        with pytest.raises(FreqlabError, match="do not fit"):
            parts.removed(images, torch.ones(1, len(bands), dtype=torch.bool))
        assert name
    with pytest.raises(ParameterError, match="images with 1 channels have no luminance"):
        fl.channels().decompose(8, 8).removed(images[:, :1], torch.ones(1, 2, dtype=torch.bool))


@pytest.mark.parametrize(
    ("text", "bands"),
    [
        ("rings:8:mirror", fl.rings(8, extension="mirror")),
        ("rings:0.1:cycles/pixel:mirror", fl.rings(0.1, unit="cycles/pixel", extension="mirror")),
        ("octaves", fl.octaves()),
        ("octaves:2:64", fl.octaves(2, 64)),
        ("octaves:2:64:3:mirror", fl.octaves(2, 64, per_octave=3, extension="mirror")),
        ("sectors:8", fl.sectors(8)),
        ("sectors:12:mirror", fl.sectors(12, extension="mirror")),
        ("polar:8x6", fl.polar(8, 6)),
        ("polar:8x6:mirror", fl.polar(8, 6, extension="mirror")),
        ("wavelets", fl.wavelets()),
        ("wavelets:haar", fl.wavelets("haar")),
        ("wavelets:bior2.2:2", fl.wavelets("bior2.2", 2)),
        ("channels", fl.channels()),
        ("channels:octaves:2:16", fl.channels(fl.octaves(2, 16))),
    ],
)
def test_text_declares_bands(text, bands):
    assert parse_bands(text) == bands


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sectors", "write sectors:N, as in sectors:8"),
        (
            "sectors:8:8",
            "write sectors:N, as in sectors:8, with :mirror at the end for the mirrored crop",
        ),
        ("sectors:8:mirrored", "with :mirror at the end for the mirrored crop"),
        ("sectors:eight", "'eight' is not a whole number"),
        ("sectors:1", "n=1 must be a whole number of sectors from 2"),
        ("polar:8", "write polar:WIDTHxN"),
        ("polar:8x8x8", "write polar:WIDTHxN"),
        ("octaves:2", "write octaves, octaves:LOW:HIGH"),
        ("octaves:a:b", "'a' is not a number"),
        ("wavelets:db2:3:4", "write wavelets, wavelets:NAME.* as in wavelets:db2:3$"),
        ("wavelets:db2:deep", "'deep' is not a whole number"),
        ("custom", "write custom:FILE.npy"),
        ("channels:rings", "write rings:WIDTH"),
    ],
)
def test_text_that_declares_no_bands(text, message):
    with pytest.raises(BandError, match=message):
        parse_bands(text)


def test_unknown_kinds_list_those_known():
    with pytest.raises(UnknownNameError, match="rings, octaves, sectors, polar, custom, wavelets"):
        parse_bands("gabor:8")
    with pytest.raises(UnknownNameError, match="Did you mean 'sectors'"):
        parse_bands("sector:8")


def test_polar_bands_are_rings_cut_into_sectors():
    bands = fl.polar(8, 8)
    assert len(bands) == 7 * 8 + 1  # the corners of the plane are not cut
    labels, ring, sector = (b.label_map(112, 112) for b in (bands, fl.rings(8), fl.sectors(8)))
    inside = (ring >= 0) & (ring < 7)
    np.testing.assert_array_equal(labels[inside], 8 * ring[inside] + sector[inside])
    np.testing.assert_array_equal(labels[ring == 7], 56)
    assert bands.decompose(112, 112).present.all()
    np.testing.assert_array_equal(bands.frequency[:-1].reshape(7, 8)[:, 0], np.arange(4, 56, 8))
    np.testing.assert_array_equal(bands.orientation[:8], np.arange(8) * 22.5)
    assert np.isnan(bands.orientation[-1])


def test_merged_bands_are_sums():
    bands = fl.sectors(7)
    merged = bands.broad(3)
    assert isinstance(merged, MergedBands)
    assert merged.names[0] == "0° to 51.429°"
    assert len(merged) == 3
    images = images_of(16, 20)
    components = bands.decompose(16, 20).components(images)
    of_merged = merged.decompose(16, 20).components(images)
    torch.testing.assert_close(of_merged[:, 0], components[:, :3].sum(1))
    torch.testing.assert_close(of_merged[:, 2], components[:, 6])
    np.testing.assert_array_equal(
        merged.label_map(16, 20),
        np.where(bands.label_map(16, 20) >= 0, bands.label_map(16, 20) // 3, DC),
    )

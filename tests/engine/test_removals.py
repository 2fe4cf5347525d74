import numpy as np
import pytest
import torch

import freqlab as fl
from freqlab.bands import spectrum
from freqlab.errors import ParameterError


def labels_of(bands=None):
    return (bands or fl.rings()).label_map(112, 112)


@pytest.mark.parametrize("grey", [False, True, "two of five"])
def test_the_same_as_one_image_at_a_time(synthetic, linear, grey):
    crops = np.stack(synthetic.images[:5])
    if grey:
        crops[: 5 if grey is True else 2] = crops[: 5 if grey is True else 2, ..., :1]
    removals = np.zeros((4, 15), bool)
    removals[1, 0] = removals[2, [3, 4]] = removals[3] = True
    found, removed = fl.engine.embed_block(linear, crops, removals, labels_of(), batch_size=3)
    assert found.shape == (5, 4, 16)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2).double()
    labels = torch.from_numpy(labels_of())
    for r, removal in enumerate(removals):
        masked = spectrum.remove(images, labels, np.flatnonzero(removal))
        np.testing.assert_allclose(found[:, r], linear(masked.float()).numpy(), atol=2e-3)
        taken = (images - masked).square().mean((1, 2, 3)).sqrt()
        np.testing.assert_allclose(removed[:, r], taken, atol=1e-3)


def test_untouched_means_untouched(synthetic):
    seen = []

    def look(images):
        seen.append(images.clone())
        return images.flatten(1)[:, :4]

    model = fl.wrap_model(look, name="look")
    crops = np.stack(synthetic.images[:2])
    fl.engine.embed_block(model, crops, np.zeros((1, 15), bool), labels_of(), batch_size=8)
    expected = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    assert torch.equal(seen[0][:2], expected)


def test_batches_have_one_size(synthetic):
    sizes, advanced = [], []

    def look(images):
        sizes.append(len(images))
        return images.flatten(1)[:, :4]

    crops = np.stack(synthetic.images[:3])
    fl.engine.embed_block(
        fl.wrap_model(look, name="look"),
        crops,
        np.eye(15, dtype=bool),
        labels_of(),
        batch_size=8,
        advance=advanced.append,
    )
    assert set(sizes) == {8}
    assert sum(advanced) == 45


def test_a_planted_embedder_hears_only_its_band(synthetic):
    """It reads 16 to 20 cycles/image and the mean: removals elsewhere leave no trace."""
    labels = torch.from_numpy(labels_of())

    def listen(images):
        coefficients = torch.fft.rfft2(images)[..., labels == 4]
        mean = images.mean((1, 2, 3))[:, None] * 100
        return torch.cat([coefficients.real.flatten(1), coefficients.imag.flatten(1), mean], 1)

    pairs = fl.make_pairs(synthetic)
    model = fl.wrap_model(listen, name="listen")
    result = fl.influence(synthetic, pairs, models=[model], progress=False)
    influence = np.abs(result["influence"].transpose("band", ...).to_numpy())
    others = np.delete(influence, 4, axis=0)
    assert others.max() < 1e-5
    assert influence[4].min() > 1e-3


def test_wrong_shapes_are_named(linear):
    with pytest.raises(ParameterError, match="112"):
        fl.engine.embed_block(
            linear, np.zeros((1, 96, 112, 3), np.uint8), np.eye(15, dtype=bool), labels_of()
        )


@pytest.mark.parametrize("batch_size", [3, 8, 64])
def test_parts_do_not_matter(synthetic, linear, batch_size):
    """More removals than one part takes, of every kind: none, one, several, all but one."""
    rng = np.random.default_rng(0)
    removals = rng.random((150, 15)) < rng.random((150, 1))
    removals[0], removals[1] = False, True
    crops = np.stack(synthetic.images[:3])
    found = fl.engine.embed_block(linear, crops, removals, labels_of(), batch_size=batch_size)
    assert found.embeddings.shape == (3, 150, 16)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2).double()
    labels = torch.from_numpy(labels_of())
    for r in (0, 1, 77, 127, 128, 149):
        masked = spectrum.remove(images, labels, np.flatnonzero(removals[r]))
        np.testing.assert_allclose(
            found.embeddings[:, r], linear(masked.float()).numpy(), atol=2e-3
        )
        taken = (images - masked).square().mean((1, 2, 3)).sqrt()
        np.testing.assert_allclose(found.removed_rms[:, r], taken, atol=1e-3)


def test_contrast_is_of_pixels_whatever_the_normalisation(synthetic):
    """Bands are taken from normalised images; what they took is told in grey levels."""
    crops, removals = np.stack(synthetic.images[:2]), np.eye(15, dtype=bool)
    network = fl.load_model("mobilefacenet", device="cpu").network
    plain = fl.wrap_model(network, name="plain")
    scaled = fl.wrap_model(network, name="scaled", mean=(9, 8, 7), std=(50, 60, 70), channels="BGR")
    first, second = (
        fl.engine.embed_block(m, crops, removals, labels_of()) for m in (plain, scaled)
    )
    np.testing.assert_allclose(first.removed_rms, second.removed_rms, rtol=1e-4)


def test_bands_beyond_the_removals_are_named(synthetic, linear):
    with pytest.raises(ParameterError, match="3 bands do not fit labels up to"):
        fl.engine.embed_block(
            linear, np.stack(synthetic.images), np.eye(3, dtype=bool), labels_of()
        )


class Counting(torch.nn.Module):
    """Embeds and counts the images."""

    def __init__(self, n_features=6, size=112):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.matrix = torch.randn(3 * size * size, n_features, generator=generator) / 100
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return images.flatten(1) @ self.matrix


def low_contrast_crops(n_high=0):
    """Crops of three coefficients each, so that most rings hold nothing but rounding."""
    x = np.arange(112)
    waves = [np.cos(2 * np.pi * k * x / 112) for k in (2, 9, 30)]
    rows = np.stack([100 + 20 * wave[:, None] + 10 * waves[0] for wave in waves])
    crops = np.repeat(rows[..., None], 3, axis=3).astype(np.float32)
    return np.concatenate([crops] + [crops[:1] + 0] * n_high)


@pytest.mark.parametrize(
    "bands",
    [fl.rings(), fl.sectors(8), fl.rings(4, extension="mirror"), fl.channels(fl.rings(8))],
    ids=["rings", "sectors", "mirrored", "channels"],
)
def test_removals_of_nothing_but_rounding_need_no_pass(bands, synthetic):
    """Against an image at a time, each removed in float64 and embedded."""
    crops = low_contrast_crops()
    parts = bands.decompose(112, 112)
    removals = np.concatenate([np.eye(len(bands), dtype=bool), np.zeros((1, len(bands)), bool)])
    network = Counting()
    model = fl.wrap_model(network, name="counting")
    network.seen = 0
    embeddings, removed = fl.engine.embed_block(model, crops, removals, parts, batch_size=1)
    changed = removed >= 1e-5
    n_needed = int(changed.sum()) + len(crops)  # and each crop once for all the others
    assert network.seen == n_needed < changed.size
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).double()
    matrix = network.matrix.double()
    for i in range(len(crops)):
        taken = parts.removed(pixels[i : i + 1].float(), torch.from_numpy(removals))[0].double()
        exact = (pixels[i] - taken).flatten(1) @ matrix
        np.testing.assert_allclose(embeddings[i], exact, rtol=2e-5, atol=2e-3)
        untouched = (pixels[i].flatten() @ matrix).numpy()
        assert np.abs(exact.numpy()[~changed[i]] - untouched).max() < 1e-3
        assert (embeddings[i][~changed[i]] == embeddings[i, -1]).all()
    network.seen = 0
    one = np.stack(synthetic.images[:2])
    fl.engine.embed_block(model, one, np.eye(15, dtype=bool), labels_of(), batch_size=1)
    assert network.seen == 30  # detail at all frequencies: nothing is saved


def test_what_is_filled_in_is_embedded():
    """Nothing is taken off, but a band of another image is put in."""
    crops = low_contrast_crops()
    fill = np.random.default_rng(0).integers(0, 256, crops.shape).astype(np.float32)
    network = Counting()
    model = fl.wrap_model(network, name="counting")
    network.seen = 0
    removals = np.eye(15, dtype=bool)
    found = fl.engine.embed_block(model, crops, removals, labels_of(), fill=fill, batch_size=1)
    assert network.seen == 45
    plain = fl.engine.embed_block(model, crops, removals, labels_of()).embeddings
    assert (np.abs(found.embeddings - plain).max(axis=2) > 0.1).all()

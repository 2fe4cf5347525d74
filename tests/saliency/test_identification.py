"""Maps of searches: candidates by brute force, maps by the estimate of one search, storage."""

import numpy as np
import pytest
import xarray as xr

import freqlab as fl
from freqlab.errors import ParameterError, StoreError, UnknownNameError
from freqlab.saliency.corrrise import identification_estimate


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    faces = fl.testing.faces(n_subjects=5, per_subject=3)
    model = fl.testing.model()
    probes = [faces.names[i] for i in (2, 7)]
    store = tmp_path_factory.mktemp("searches") / "run.zarr"
    options = {"probes": probes, "store": store, "top": 2, "n_masks": 60, "progress": False}
    return faces, model, options, fl.saliency.identification_maps(faces, model, **options)


def test_candidates_are_the_most_similar_people(searched):
    faces, model, options, maps = searched
    vectors = fl.open_embeddings(options["store"], model=model.name)
    unit = vectors / np.sqrt((vectors**2).sum("feature"))
    enrolled = [faces.names[3 * person] for person in range(5)]  # the first that is no probe
    for k, probe in enumerate(options["probes"]):
        scores = {
            name: float(unit.sel(face=probe).to_numpy() @ unit.sel(face=name).to_numpy())
            for name in enrolled
        }
        best = sorted(scores, key=scores.get, reverse=True)
        of_search = maps.isel(pair=slice(3 * k, 3 * k + 3))
        assert (of_search["probe"] == probe).all()
        assert of_search["reference"].values.tolist() == [best[0], best[1], best[0]]
        assert of_search["rank"].values.tolist() == [1, 2, 1]
        assert of_search["score"].values.tolist() == ["similarity", "similarity", "margin"]
        margin = scores[best[0]] - scores[best[1]]
        expected = [scores[best[0]], scores[best[1]], margin]
        np.testing.assert_allclose(of_search["similarity"], expected, atol=1e-5)
    own = maps["probe_subject"] == maps["reference_subject"]
    assert (maps["genuine"] == own).all()
    assert maps.attrs["n_enrolled"] == 5


def test_maps_are_those_of_one_search(searched):
    faces, model, options, maps = searched
    crops = fl.open_run(options["store"])[f"crops/{model.spec.template}"]["crop"]
    vectors = fl.open_embeddings(options["store"], model=model.name)
    enrolled = [faces.names[3 * person] for person in range(5)]
    rows, alone = identification_estimate(
        model,
        crops.sel(face=options["probes"][1]).to_numpy(),
        vectors.sel(face=enrolled).to_numpy(),
        top=2,
        n_masks=60,
    )
    np.testing.assert_array_equal(maps["map"][3:], alone.maps)
    np.testing.assert_array_equal(maps["standard_error"][3:], alone.standard_error)
    assert maps["reference"][3:5].values.tolist() == [enrolled[row] for row in rows]


def test_a_person_scores_with_the_best_of_several_faces(searched):
    faces, model, options, _ = searched
    probe = faces.names[2]
    gallery = [name for name in faces.names if name != probe]
    maps = fl.saliency.identification_maps(
        faces, model, **{**options, "probes": [probe], "top": 5}, gallery=gallery
    )
    candidates = maps.sel(pair=maps["score"] == "similarity")
    assert len(set(candidates["reference_subject"].values.tolist())) == 5
    assert (np.diff(candidates["similarity"]) <= 0).all()
    vectors = fl.open_embeddings(options["store"], model=model.name)
    unit = (vectors / np.sqrt((vectors**2).sum("feature"))).sel(face=gallery)
    whole = unit.to_numpy() @ (vectors / np.sqrt((vectors**2).sum("feature"))).sel(face=probe).data
    assert candidates["similarity"][0].item() == pytest.approx(whole.max(), abs=1e-5)


def test_maps_are_stored_and_drawn(searched):
    faces, model, options, maps = searched
    again = fl.saliency.identification_maps(faces, model, **options)
    assert again.attrs["forward_passes"] == 0
    assert maps.attrs["forward_passes"] == 2 * 61
    xr.testing.assert_equal(again, maps)
    ranked = fl.saliency.identification_maps(faces, model, **options, correlation="spearman")
    assert ranked.attrs["forward_passes"] > 0
    assert fl.plots.saliency_plot(maps, pair=2).images


def test_wrong_arguments_are_named(searched):
    faces, model, options, _ = searched
    wrong = {**options, "probes": [faces.names[0]]}
    with pytest.raises(ParameterError, match="probes: 1 names are not in face set.*'nobody'"):
        fl.saliency.identification_maps(faces, model, **{**options, "probes": ["nobody"]})
    with pytest.raises(ParameterError, match=r"probes=\[\]: give the names"):
        fl.saliency.identification_maps(faces, model, **{**options, "probes": []})
    with pytest.raises(ParameterError, match="is also a probe"):
        fl.saliency.identification_maps(faces, model, **wrong, gallery=faces.names[:6])
    with pytest.raises(ParameterError, match="a name is repeated"):
        fl.saliency.identification_maps(faces, model, **wrong, gallery=[faces.names[3]] * 2)
    with pytest.raises(ParameterError, match="gallery of 1 people"):
        fl.saliency.identification_maps(faces, model, **wrong, gallery=[faces.names[3]])
    with pytest.raises(UnknownNameError, match="pearson"):
        fl.saliency.identification_maps(faces, model, **wrong, correlation="kendall")
    with pytest.raises(StoreError, match="keeps no crops"):
        fl.saliency.identification_maps(faces, model, **{**wrong, "store": None}, keep_crops=False)

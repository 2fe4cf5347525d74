"""The code of the gallery, in cells; ``docs/gallery.py`` says how they are read."""

# %% [title] The faces and the models
# The 400 photographs of ORL and two networks that come with the demo. Runs are kept in a store,
# so that drawing again computes nothing again.
import matplotlib.pyplot as plt
import numpy as np

import freqlab as fl

store, folder = "runs/gallery.zarr", "runs/gallery-morphs"
faces = fl.load_faces("orl")
models = ["mobilefacenet", "dlib"]
bands = fl.rings(width=4)

# %% [title] One pair
# A sample of pairs, half of them genuine; each band was removed from the probe, the reference,
# and both.
pairs = fl.make_pairs(faces, n_pairs=200, seed=0)
result = fl.influence(faces, pairs, models=models, bands=bands, store=store)
shown = fl.results.pairs_to_show(result, model="mobilefacenet")
pair = shown["A genuine pair whose decision depends on one band"]

# %% heat_plot
# Both faces, the plane of frequencies, and influence over frequency, raw and per contrast
# removed. Blue bands spoke for a match, red ones against it.
fl.plots.heat_plot(result, pair=pair, model="mobilefacenet")

# %% face_plot
# A crop as the model sees it.
fl.plots.face_plot(result, face=str(result["probe"].sel(pair=pair).item()))

# %% spectrum_plot
# The plane of frequencies alone: zero in the middle, each ring coloured by its influence.
fl.plots.spectrum_plot(result, pair=pair, model="mobilefacenet")

# %% strip_plot
# The same over frequency; `kind=` is `directed`, `absolute` or `per_contrast`.
fl.plots.strip_plot(result, pair=pair, model="mobilefacenet", side="both")

# %% pair_profile_plot
# The influence of a pair's bands, before that of all pairs of the run.
fl.plots.pair_profile_plot(result, pair=pair, model="mobilefacenet")

# %% inspection_plot
# The pair once more without bands of one's own choice, as the network then sees it.
edited = fl.edits.Inspection(result).edit(pair=pair, model="mobilefacenet", bands=[1])
fl.plots.inspection_plot(result, edited)

# %% [title] Many pairs
# Means over genuine and impostor pairs, with intervals over people.
profile = fl.results.mean_profile(result)
compared = fl.compare(result)

# %% overview_plot
# A typical genuine pair, the mean influence on genuine pairs in the plane of frequencies, and the
# mean profiles of genuine and impostor pairs with intervals over people.
fl.plots.overview_plot(result, profile, model="mobilefacenet")

# %% profile_plot
# Which bands speak for a match, in genuine and in impostor pairs.
fl.plots.profile_plot(profile, model="mobilefacenet")

# %% comparison_plot
# Profiles of several runs or models on one axis.
fl.plots.comparison_plot(compared, comparison="genuine", kind="absolute")

# %% difference_plot
# Differences between runs or models on the same pairs, with paired intervals; large symbols where
# the interval excludes zero.
fl.plots.difference_plot(compared, comparison="genuine")

# %% contrast_plot
# How much the removal of each band took from the picture, to read influence against.
fl.plots.contrast_plot(result, model="mobilefacenet")

# %% contact_sheet
# How the faces of a run were cut out; with `show="failed"`, the photographs that gave no crop.
fl.plots.contact_sheet(store, faces=faces.names, n=24, columns=8)

# %% [title] Verification
# All photographs compared with all, and the similarities behind the figures.
verified = fl.verify(faces, models=models, group="glasses", store=store)
vectors = fl.open_embeddings(store, model="mobilefacenet").sel(face=faces.names).to_numpy()
genuine, impostor = fl.statistics.all_comparisons(vectors, faces.subjects, faces.sources)
threshold = fl.results.threshold_of(result, model="mobilefacenet", fmr=1e-3)

# %% score_plot
# Distributions of similarities, from two arrays.
fl.plots.score_plot(genuine, impostor, thresholds={"FMR 1e-3": threshold})

# %% density_plot
# The same from the figures of `fl.verify`, which need not keep every score.
fl.plots.density_plot(verified, model="dlib")

# %% det_plot
# Detection error trade-off, by model or by group. A curve ends where its rates are not resolved.
fl.plots.det_plot(verified)

# %% extremes_plot
# The comparisons that a model gets most wrong: here the least similar photographs of one person.
fl.plots.extremes_plot(verified, model="mobilefacenet", comparison="genuine", n=5)

# %% [title] Groups
# Photographs by where the nose points: error rates at one threshold for all, and profiles with
# tests. The pairs are drawn without regard to the groups.
labels = fl.faces.group_labels(faces, "pose")
used = np.isin(faces.names, np.union1d(pairs["probe"], pairs["reference"]))
chosen = faces.select(np.flatnonzero(used))
drawn = fl.make_pairs(chosen, impostors_per_genuine=20, seed=0)
both_sides = fl.influence(
    faces, drawn, models=models, bands=bands, sides=["probe", "reference"], store=store
)
groups = fl.bias.profiles(both_sides.load(), labels)
embeddings = {
    model: fl.open_embeddings(store, model=model).sel(face=faces.names).to_numpy()
    for model in models
}
errors = fl.bias.errors(embeddings, faces, labels)

# %% group_profile_plot
# Mean profiles of the groups with intervals over people.
fl.plots.group_profile_plot(groups, model="mobilefacenet", comparison="impostor", kind="absolute")

# %% group_difference_plot
# Differences to the baseline group; filled where they are significant after adjustment over the
# bands.
fl.plots.group_difference_plot(groups, model="mobilefacenet", comparison="impostor")

# %% group_heat_plot
# All groups at a glance; a dot where a difference is significant.
fl.plots.group_heat_plot(groups, model="mobilefacenet", comparison="impostor")

# %% group_error_plot
# Equal error rate, FMR and FNMR of the groups at one threshold, with intervals over people.
fl.plots.group_error_plot(errors, fmr=1e-2)

# %% gaps_plot
# Whether groups whose profiles differ more have larger error gaps.
fl.plots.gaps_plot(fl.bias.gaps_together(groups, errors, fmr=1e-2), outcome="EER gap")

# %% [title] Bands of other kinds
# Bands need not be rings: sectors of orientation, octaves cut into sectors. All figures take all
# kinds; those below need an orientation.
options = {"models": ["mobilefacenet"], "sides": ["probe"]}
turned = fl.influence(faces, pairs, bands=fl.sectors(8), **options)
by_orientation = fl.results.mean_profile(turned)
cut = fl.influence(faces, pairs, bands=fl.polar(fl.octaves(low=4), 6), **options)
by_octave = fl.results.mean_profile(cut)

# %% rose_plot
# Influence by orientation of the structure, with intervals over people. A sector points along its
# structure: brows and mouth to the sides, the sides of nose and face up and down.
fl.plots.rose_plot(by_orientation)

# %% orientation_plot
# Influence by octave and orientation; subbands of wavelets are drawn alike, by scale.
fl.plots.orientation_plot(by_octave)

# %% [title] Resolution
# Sharp references meet probes of ever lower resolution; some probes are also degraded by other
# kernels, to see what leaks.
few = fl.make_pairs(faces, n_pairs=60, seed=0)
coarse = fl.faces.degrade(faces, resolutions=[56, 28, 14, 7], probes=few["probe"])
for kernel in ("bicubic", "lanczos", "fourier"):
    coarse = fl.faces.degrade(
        coarse, resolutions=[56, 28, 14], kernel=kernel, probes=few["probe"][:10]
    )
met = fl.faces.degraded_pairs(few, coarse)
sides = ["probe", "reference"]
degraded = fl.influence(
    coarse, met, models=["mobilefacenet"], bands=bands, sides=sides, store=store
).load()
by_resolution = fl.resolution.profiles(degraded)

# %% resolution_heat_plot
# Mean influence of each band, along the resolutions of the probe, and where the resolution ends.
fl.plots.resolution_heat_plot(by_resolution, model="mobilefacenet", side="probe")

# %% resolution_profile_plot
# The same as lines with intervals.
fl.plots.resolution_profile_plot(by_resolution, model="mobilefacenet", side="reference")

# %% resolution_strip_plot
# One probe through the resolutions, above the heat plots of its pair.
fl.plots.resolution_strip_plot(degraded, by_resolution, pair=0, model="mobilefacenet")

# %% resolution_error_plot
# Error rates at the threshold of photographs as they are.
everyone = fl.faces.degrade(faces, resolutions=[56, 28, 14, 7])
fl.embed(everyone, models=models, store=store)
of_all = {
    model: fl.open_embeddings(store, model=model).sel(face=everyone.names).to_numpy()
    for model in models
}
fl.plots.resolution_error_plot(fl.resolution.errors(of_all, everyone), fmr=1e-2)

# %% resolution_leak_plot
# What lies beyond the end of the resolution, by the kernel that took the pixels away.
fl.plots.resolution_leak_plot(fl.resolution.leaks(degraded), model="mobilefacenet")

# %% resolution_summary_plot
# Whether low bands gain weight as the probe loses pixels.
fl.plots.resolution_summary_plot(by_resolution, model="mobilefacenet", quantity="low_gain")

# %% [title] Morphing attacks
# The first photograph of each person is a document, two others are live; everyone is mixed with
# one other person of the same gender.
first = faces.select(range(0, len(faces), 10))
couples = fl.morphing.couples(first, same=["gender"], seed=0)
live = [name for name in faces.names if name.split("/")[1] in ("2", "3")]
documents = [name for name in faces.names if name.split("/")[1] == "1"]
photographs = faces.select([i for i, name in enumerate(faces.names) if name in {*documents, *live}])
mixed = fl.morphing.make_faces(photographs, couples, folder=folder, alpha=0.5)
mixed = fl.morphing.make_faces(mixed, couples, folder=folder, alpha=0.3)
attacks = fl.morphing.make_pairs(mixed, documents=documents, live=live)
attacked = fl.influence(
    mixed, attacks, models=["mobilefacenet"], bands=bands, sides=sides, store=store
).load()
scores = fl.morphing.scores(attacked, model="mobilefacenet")
vectors = fl.open_embeddings(store, model="mobilefacenet").sel(face=mixed.names).to_numpy()
risk = fl.morphing.vulnerability(
    {"mobilefacenet": vectors}, mixed, attacks, thresholds={"mobilefacenet": 0.3}
)

# %% morph_plot
# A morph between photographs of its contributors, and the heat plots of both pairs.
attack = attacked["pair"].to_numpy()[attacked["attack"].to_numpy() != "bona fide"][0]
fl.plots.morph_plot(attacked, pair=int(attack), model="mobilefacenet")

# %% vulnerability_plot
# How many morphs match live photographs of both contributors.
fl.plots.vulnerability_plot(risk, model="mobilefacenet")

# %% attack_profile_plot
# Mean profiles of bona fide and attack pairs.
fl.plots.attack_profile_plot(fl.morphing.profiles(attacked), model="mobilefacenet")

# %% manipulation_plot
# Which bands the attacks change most, in standard deviations of bona fide pairs.
changes = fl.morphing.manipulation_by_kind(
    attacked, by="attack", pristine="bona fide", side="reference"
)
fl.plots.manipulation_plot(changes, model="mobilefacenet")

# %% d_eer_plot
# How well scores of influence detect attacks, compared with baselines.
detected_attacks = fl.morphing.detection_errors(scores)
fl.plots.d_eer_plot(detected_attacks)

# %% detection_plot
# The same as a trade-off of both kinds of error.
fl.plots.detection_plot(detected_attacks)

# %% score_histogram_plot
# How a score is distributed.
fl.plots.score_histogram_plot(scores, name="mahalanobis")

# %% [title] Faithfulness
# Deletion and insertion of bands on a sample of pairs, and other tests of the same explanations on
# eight of them.
tested = fl.influence(
    faces,
    fl.make_pairs(faces, n_pairs=60),
    models=models,
    bands=bands,
    sides=["probe"],
    store=store,
).load()
networks = [fl.load_model(model) for model in models]
deletion = fl.faithfulness.deletion_errors(
    fl.faithfulness.deletion_curves(tested, networks, fmr=1e-2, n_random=2)
)
few = fl.faithfulness.sample_pairs(tested, 8)
views = fl.faithfulness.band_views(few, networks, fmr=1e-2, most_permutations=12)

# %% deletion_plot
# Errors as bands are taken out in the order of influence, and in orders that know nothing of it.
fl.plots.deletion_plot(deletion, model="mobilefacenet")

# %% accuracy_plot
# The same for genuine and impostor pairs together.
fl.plots.accuracy_plot(deletion, model="mobilefacenet")

# %% advantage_plot
# What the order of influence has over each other, with intervals over people.
fl.plots.advantage_plot(deletion, model="mobilefacenet")

# %% view_plot
# Whether other views of the same bands agree with their influence.
fl.plots.view_plot(views, model="mobilefacenet")

# %% interaction_plot
# What two bands cost together, beyond the sum of both.
fl.plots.interaction_plot(views, model="mobilefacenet")

# %% randomisation_plot
# Whether the explanation changes when the network's weights are shuffled, layer by layer.
fl.plots.randomisation_plot(fl.faithfulness.sanity_checks(few, networks), model="mobilefacenet")

# %% stability_plot
# Whether it stays when the picture hardly changes.
fl.plots.stability_plot(fl.faithfulness.profile_stability(few, networks))

# %% planted_plot
# Whether a band that was planted is the one that is found.
crops = fl.open_run(store)["crops/arcface"]["crop"].to_numpy()[:12]
fl.plots.planted_plot(fl.faithfulness.planted_bands(crops, bands))

# %% [title] In space, in the plane, by gradients
# The neighbours of band influence, on the pair above.
network = fl.load_model("mobilefacenet")
space = fl.saliency.corrrise_maps(result, network, pairs=[pair], n_masks=800)
plane = fl.saliency.freqrise_maps(result, network, pairs=[pair], n_masks=800)
joint = fl.saliency.joint_maps(result, network, pairs=[pair], grid=5)

# %% saliency_plot
# CorrRISE: where in the probe lies what makes the pair similar, by random masks. Maps of
# `fl.saliency.gradient_maps` are drawn alike.
fl.plots.saliency_plot(space, pair=pair)

# %% saliency_plot of a search
# The margin of a search among five people: where in the probe lies what puts the person first.
of_search = fl.saliency.identification_maps(
    faces.select(range(50)), network, probes=["s1/2"], top=1, n_masks=800, progress=False
)
fl.plots.saliency_plot(of_search, pair=int(of_search["pair"][-1]))

# %% plane_plot
# FreqRISE: which coefficients do, zero frequency in the middle.
fl.plots.plane_plot(plane, pair=pair)

# %% joint_plot
# Which band, and where: a band is taken out within a window that slides over the face.
fl.plots.joint_plot(joint, pair=pair)

# %% reliability_plot
# How much of a map is not noise after so many masks; dotted is what was asked for.
fl.plots.reliability_plot({"CorrRISE": space, "FreqRISE": plane})

# %% [title] Attacked faces
# The probes are perturbed against the network; detectors are fitted on other people.
tried = fl.faithfulness.sample_pairs(result, 40)
attacked_faces = fl.adversarial.features(
    tried, network, attacks=[("FGSM", 4), ("PGD", 1)], fmr=1e-2
)
detected = fl.adversarial.detection_errors(fl.adversarial.scores(attacked_faces), n_draws=200)

# %% detector_plot
# How well attacked faces are told from natural ones; chance is dotted. Influence sees a fall of
# similarity here, not the attack: where impostor pairs are attacked too, it falls to chance.
fl.plots.detector_plot(detected)

# %% [title] What influence is good for
# Probes of 14 pixels, at which the network errs often, against the other photographs as they are.
improved = fl.improve.study(
    faces, models=["mobilefacenet"], store=store, resolutions=[14], n_impostor=10_000, fmr=1e-2
)
(part,) = fl.improve.parts_of(improved)
gained, discarded, calibrated = part.gains, part.discard, part.calibration

# %% gain_plot
# Change of FNMR by each score against the similarity alone, fitted on other people where anything
# is fitted. `energy` and `alike` are controls without influence: energies of the bands instead, and
# the reference degraded as the probe.
fl.plots.gain_plot(gained, fmr=1e-2)

# %% discard_plot
# How errors fall when probes of low quality are discarded, by several measures of quality.
measures = ["stability", "flip stability", "sharpness", "random"]
fl.plots.discard_plot(discarded, measures=measures)

# %% gain_plot of matched bands
# The same for probes whose reference is reduced to the bands that they retain.
fl.plots.gain_plot(part.matched, fmr=1e-2)

# %% calibration_plot
# Whether a stated probability comes true: calibrated probabilities lie on the diagonal.
fl.plots.calibration_plot(calibrated)

# %% [title] Searches
# One photograph of each person is enrolled; probes of 14 pixels of the others are searched among
# them, by two networks.
blurred = fl.faces.degrade(faces, resolutions=[14])
is_enrolled = np.array([name.endswith("/1") for name in blurred.names])
searched = fl.identify(
    blurred.select(np.flatnonzero(is_enrolled | blurred.degraded)),
    models=models,
    gallery=[name for name in blurred.names if name.endswith("/1")],
    fpirs=[0.1, 0.05],
    max_rank=20,
    store=store,
)

# %% cmc_plot
# Cumulative match characteristic: the share of searches in which the own person is among the
# highest scores.
fl.plots.cmc_plot(searched)

# %% fnir_plot
# Open set: the share of searches that miss the own person, over the share that return somebody
# though nobody is enrolled. A curve ends where its rates are not resolved.
fl.plots.fnir_plot(searched)

# %% search_gain_plot
# Change of the errors at rank 1 by each score, with the probes of the chapter above.
fl.plots.search_gain_plot(part.searches)

# %% discard_plot of searches
# How these errors fall when probes of low quality are discarded.
fl.plots.discard_plot(part.search_discard, measures=measures)

# %% [title] The palette
# Things without an order have the colours of Okabe and Ito, without yellow, which is too faint on
# white: `fl.plots.CATEGORICAL`. They are ordered so that each is farthest from those before it,
# to eyes with the worst of three deficiencies (protanopia, deuteranopia, tritanopia, as Machado,
# Oliveira and Fernandes simulate them, 2009): there the first four lie at least 19 apart by
# CIEDE2000, all seven at least 10. Orange and sky blue are lighter than the contrast of 3:1 that
# is asked of graphics on white, so lines differ in marker or dashes too. What has an order is
# drawn in `viridis` (`fl.plots.SEQUENTIAL`), what has a sign in `RdBu` (`fl.plots.DIVERGING`):
# blue speaks for a match, red against it. What has no value is grey (`fl.plots.NO_DATA`). Genuine
# comparisons are blue, impostor ones orange (`fl.plots.COMPARISON_COLOURS`).

# %% palette
# Lines that stand side by side: `line_style(0)`, `line_style(1)` and so on; the colours come
# again from the eighth on, with other markers.
ax = plt.figure(figsize=(6.4, 2.4), layout="constrained").add_subplot()
for place in range(len(fl.plots.CATEGORICAL)):
    ax.plot(np.arange(4), np.full(4, place), **fl.plots.common.line_style(place))
ax.set_yticks(range(len(fl.plots.CATEGORICAL)), fl.plots.CATEGORICAL)
ax.invert_yaxis()
ax.set_xticks([])

# %% [markdown]
# # A new lot of glass
#
# A model knows the glass that it learned from. When a new lot comes, with a wave in it and under a darker lamp,
# good panes are suddenly rejected. Eight good panes of the new lot bring the model back, without starting over.
# It takes about half a minute.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pellucid
from pellucid.synthesis.glass import DEFECT_GENERATORS, draw_data_set, draw_defective_pane, draw_pane, write_pane

draw_data_set(Path("GlassDefect"), n_train=60, n_test=20, n_per_defect=4)
inspector = pellucid.fit("GlassDefect", image_size=128)
inspector.save("glass.pellucid")
inspector

# %% [markdown]
# ## The new lot
#
# The same glass, 7 % darker, with a wave across it so faint that the eye does not see it. Eight panes to learn
# from, taken as they come and **not picked by how they score**, and others to test with.

# %%


def new_light(pane):
    rows = np.arange(pane.shape[0], dtype=np.float32)[:, None]
    return pane * 0.93 + 0.0025 * np.sin(rows / 9)


for number in range(38):
    part = "new_lot" if number < 8 else "new_test/normal"
    write_pane(Path(part) / f"lot_{number:02d}.png", new_light(draw_pane(np.random.default_rng((7, number)))))
for number in range(24):
    kind = list(DEFECT_GENERATORS)[number % 4]
    pane, _ = draw_defective_pane(np.random.default_rng((8, number)), kind)
    write_pane(Path("new_test/abnormal") / f"{kind}_{number:02d}.png", new_light(pane))

figure, axes = plt.subplots(1, 2, figsize=(7, 3.4))
for axis, file, title in zip(
    axes, ("GlassDefect/normal_test/pane_060.png", "new_lot/lot_00.png"), ("before", "the new lot"), strict=True
):
    axis.imshow(plt.imread(file), cmap="gray", vmin=0.2, vmax=0.9)
    axis.set_title(title)
    axis.axis("off")

# %% [markdown]
# ## What happens without doing anything

# %%


def tell(name, result):
    counts = result.metrics
    rejects = f"{counts['false_rejects']} of {counts['normals']} good panes rejected"
    print(f"{name}: {rejects}, {counts['escapes']} of {counts['defectives']} flawed panes passed")


before = pellucid.evaluate(inspector, "new_test")
tell("old glass", pellucid.evaluate(inspector, "GlassDefect"))
tell("new lot", before)
print(before.shift.message)

# %% [markdown]
# ## Learn the new lot
#
# The panes are learned on top of the old ones, and the limit moves to where they score. Then flaws are planted
# into them: an update that finds fewer of these than chance explains is not accepted.

# %%
update = pellucid.update("glass.pellucid", "new_lot")
step = update.step
print(f"{update.rejected} of {step.images} were rejected before")
print(f"the limit moves from {step.limit:.3g} to {step.updated_limit:.3g}")
print(f"planted flaws found: {step.found} of {step.planted} before, {step.updated_found} after")
print(f"accepted: {update.accepted}")

# %%
after = pellucid.evaluate(update.inspector, "new_test")
tell("new lot, as it was", before)
tell("new lot, updated", after)
tell("old glass, updated", pellucid.evaluate(update.inspector, "GlassDefect"))

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 2.8))
for axis, result, limit, title in (
    (axes[0], before, inspector.limit.value, "as it was"),
    (axes[1], after, update.inspector.limit.value, "updated"),
):
    for label, name in (("normal", "good"), ("abnormal", "flawed")):
        scores = [one.inspection.score for one in result.scored if one.sample.label == label]
        axis.hist(scores, bins=25, alpha=0.6, label=name)
    axis.axvline(limit, color="black", linestyle="--", label="limit")
    axis.set_title(f"the new lot, {title}")
    axis.set_xlabel("score")
_ = axes[0].legend()
# %% [markdown]
# Keep the model if you like what you see. It remembers from what it was updated.

# %%
if update.accepted:
    update.inspector.save("glass_2.pellucid")
pellucid.load("glass_2.pellucid").ancestry

# %% [markdown]
# In a shell it is one line: `pellucid update glass.pellucid new_lot/ -o glass.pellucid`. The service has a
# button for it on its page *Models*.

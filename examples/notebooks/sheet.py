# %% [markdown]
# # A whole sheet
#
# A line-scan camera gives pictures of many thousand pixels, and the flaws are small. The picture is seen in
# **tiles** at its own size, a **gate** passes over the tiles in which nothing stands out, flaws are measured in
# **millimetres**, and a customer's or a standard's table **grades** the sheet. It takes about a minute.

# %%
from pathlib import Path

import cv2
import matplotlib.pyplot as plt

import pellucid
from pellucid.synthesis.sheet import Sheet, SheetPlan
from pellucid.synthesis.sheet_files import good_sheets, write_sheet
from pellucid.synthesis.sheet_placing import place_defects

# %% [markdown]
# ## Draw a line's glass
#
# Twenty good sheets to learn from, and one with flaws whose places and sizes are known. A pixel is 0.2 mm.

# %%
plan = SheetPlan(153.6, 153.6, (0.2, 0.2), seed=1)
Path("data/normal_train").mkdir(parents=True)
for number, good in enumerate(good_sheets(plan, 20)):
    cv2.imwrite(f"data/normal_train/sheet_{number:02d}.png", good.rows(0, good.shape[0]))
sheet = Sheet(plan, place_defects(plan, {"seed": 3, "stone": 2, "scratch": 2, "dust": 3}))
write_sheet(Path("sheet.tif"), sheet)
print(f"{sheet.shape[1]} x {sheet.shape[0]} px, {len(sheet.defects)} flaws drawn")

# %% [markdown]
# ## Learn, in tiles, with a gate
#
# `gate_loss=0.02` allows the gate to lose 2 % of the flaws that the detector would find. What it really loses
# is measured on planted flaws.

# %%
inspector = pellucid.fit("data", "padim", tile=512, mm_per_px=0.2, gate_loss=0.02)
report = inspector.gate_report
print(f"lost {report.lost} of {report.found} planted flaws; {report.good_work:.0%} of the work on good glass is left")

# %% [markdown]
# ## Inspect, measure, grade
#
# The detector says what is unusual; the rule says what is allowed. `en1279` is one of the shipped rules
# (`pellucid rules`); your customer's table is a TOML file.

# %%
found = inspector.with_grading("en1279").inspect("sheet.tif")
print(f"{found.verdict}: {len(found.defects)} defects; {found.grade}")
for broken in found.grade.broken:
    print(f"{broken.verdict}: {broken}")

# %%
print(f"{'kind':12} {'length x width':>16} {'at x, y mm':>14}")
for defect in found.defects:
    x, y = (0.2 * place for place in defect.centroid)
    print(f"{defect.kind:12} {defect.size_text:>16} {x:7.1f} {y:6.1f}")

# %% [markdown]
# What was drawn and what was found, at the same places:

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 6))
pixels = sheet.rows(0, sheet.shape[0])
axes[0].imshow(pixels, cmap="gray")
for drawn in sheet.defects:
    x, y = (place / 0.2 for place in drawn.centre_mm)
    axes[0].annotate(drawn.kind, (x, y), color="yellow")
axes[0].set_title("drawn")
axes[1].imshow(found.map, cmap="magma")
for defect in found.defects:
    x, y, width, height = defect.box
    axes[1].add_patch(plt.Rectangle((x, y), width, height, fill=False, color="cyan"))
axes[1].set_title("found")
for axis in axes:
    axis.axis("off")

# %% [markdown]
# ## For people who stand at the line
#
# The same as a page that zooms to every pixel, with its clauses and a sheet to print:

# %%
inspector.save("sheet.pellucid")
# !pellucid inspect sheet.pellucid sheet.tif --grade en1279 --sheet-pages -o results

# %% [markdown]
# Open `results/sheets/index.html`. Sheets larger than memory, rows from a frame grabber and several panes on a
# sheet: *Images and formats*, *Sheets*, *Grading*.

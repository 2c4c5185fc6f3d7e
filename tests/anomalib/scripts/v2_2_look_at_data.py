# anomalib 2.2: what is in the data module, with pictures of a batch.
import matplotlib.pyplot as plt
from anomalib.data import Folder
from anomalib.data.utils.split import Split, TestSplitMode, ValSplitMode

datamodule = Folder(
    name="look",
    root="datasets/MVTec/pane",
    normal_dir="train/good",
    abnormal_dir="test/scratch",
    mask_dir="ground_truth/scratch",
    test_split_mode=TestSplitMode.FROM_DIR,
    val_split_mode=ValSplitMode.FROM_TRAIN,
    test_split_ratio=0.3,
    train_batch_size=6,
    eval_batch_size=4,
    image_size=(64, 96),
)
datamodule.setup()
print(f"train {len(datamodule.train_data)}, val {len(datamodule.val_data)}, test {len(datamodule.test_data)}")
batch = next(iter(datamodule.train_dataloader()))
print(batch.image.shape, batch.gt_label, batch.image_path[0])
test_batch = next(iter(datamodule.test_dataloader()))
item = datamodule.test_data[0]
samples = datamodule.test_data.samples
print(samples.head())
counts = samples.label_index.value_counts().to_dict()
fig, axes = plt.subplots(1, 2)
axes[0].imshow(item.image.permute(1, 2, 0))
axes[1].imshow(item.gt_mask)
fig.savefig("batch.png")
plt.close(fig)

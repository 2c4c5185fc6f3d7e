# anomalib 2.0: pre-processor, post-processor, evaluator and visualizer of one's own.
import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.metrics import AUPRO, AUROC, Evaluator, F1Score
from anomalib.models import Patchcore
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from anomalib.visualization import ImageVisualizer
from torchvision.transforms.v2 import ColorJitter, Compose, Normalize, RandomHorizontalFlip, Resize

transform = Compose(
    [Resize((64, 64), antialias=True), Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])]
)
evaluator = Evaluator(
    val_metrics=[AUROC(fields=["pred_score", "gt_label"], prefix="val_image_")],
    test_metrics=[
        AUROC(fields=["pred_score", "gt_label"], prefix="image_"),
        F1Score(fields=["pred_label", "gt_label"], prefix="image_"),
        AUROC(fields=["anomaly_map", "gt_mask"], prefix="pixel_", strict=False),
        AUPRO(fields=["anomaly_map", "gt_mask"], prefix="pixel_", strict=False),
    ],
)
visualizer = ImageVisualizer(
    fields=["image", "gt_mask"], overlay_fields=[("image", ["anomaly_map"])], field_size=(256, 256),
    output_dir="pictures",
)
model = Patchcore(
    coreset_sampling_ratio=0.05,
    pre_processor=PreProcessor(transform=transform),
    post_processor=PostProcessor(enable_normalization=True),
    evaluator=evaluator,
    visualizer=visualizer,
)
datamodule = Folder(
    name="components",
    root="datasets/MVTec/pane",
    normal_dir="train/good",
    abnormal_dir=["test/scratch", "test/bubble"],
    normal_test_dir="test/good",
    mask_dir=["ground_truth/scratch", "ground_truth/bubble"],
    train_augmentations=Compose([RandomHorizontalFlip(p=0.5), ColorJitter(brightness=0.2)]),
    val_split_mode="from_test",
    num_workers=0,
)
engine = Engine(max_epochs=1, devices=1)
engine.fit(model=model, datamodule=datamodule)
results = engine.test(model=model, datamodule=datamodule)
for metric, value in results[0].items():
    print(f"{metric:20} {value:.4f}")

predictions = engine.predict(model=model, datamodule=datamodule)
scores = torch.cat([batch.pred_score for batch in predictions])
labels = torch.cat([batch.pred_label for batch in predictions])
over_half = scores > 0.5  # the limit of a post-processor that normalises

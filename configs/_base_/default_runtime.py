# What every config shares. Launching (processes, devices, `--amp`) is not said here: mmseg_erfnet.engine.launch fits it
# to the machine.
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)
# Without a seed of its own a resumed run would draw a new one and could not continue the old.
randomness = dict(seed=0)
# Weights & Biases too: `visualizer = dict(vis_backends=[*_base_.vis_backends, dict(type='WandbVisBackend')])`.
vis_backends = [dict(type='mmseg_erfnet.RunVisBackend'), dict(type='TensorboardVisBackend')]
# No name: each run gets a visualizer of its own, also where one process trains twice.
visualizer = dict(type='mmseg_erfnet.RunVisualizer', vis_backends=vis_backends)
# Scalars are called train/loss, val/mIoU, ...: training and validation each log a `loss`.
log_processor = dict(type='mmseg_erfnet.ProgressLogProcessor', log_with_hierarchy=True)
log_level = 'INFO'
load_from = None
resume = False
# Frames that are both trained on and scored are an error. To see whether a model can learn a few by heart: True.
allow_overlap = False
# `--tta`: the mean of the softmax over what `tta_pipeline` makes of an image.
tta_model = dict(type='mmseg.SegTTAModel')
# Survival: exact resume, no NaN in a checkpoint, checkpoints that a kill leaves whole and that load as data.
default_hooks = dict(
    checkpoint=dict(type='mmseg_erfnet.SafeCheckpointHook'),
    # Losses leave the device when they are logged, not in each iteration.
    runtime_info=dict(type='mmseg_erfnet.LazyRuntimeInfoHook'),
    # For MMSegmentation's tools/test.py --show-dir, which turns it on.
    visualization=dict(type='mmseg_erfnet.VisualizationHook'),
)
custom_hooks = [
    dict(type='mmseg_erfnet.EpochSeedHook'),
    dict(type='mmseg_erfnet.FiniteLossHook'),
    dict(type='mmseg_erfnet.ProgressBarHook'),
    # mIoU on training frames as they are, without augmentation: what val is compared with.
    dict(type='mmseg_erfnet.TrainScoreHook', num_images=100),
    dict(type='mmseg_erfnet.ClassTableHook'),
    # A few painted validation frames, some ten times in a run, for TensorBoard.
    dict(type='mmseg_erfnet.ValidationPicturesHook'),
    # Pictures in the work dir: curves.png after each validation, report.html after training and after a test.
    dict(type='mmseg_erfnet.CurvesHook'),
    dict(type='mmseg_erfnet.ReportHook'),
]

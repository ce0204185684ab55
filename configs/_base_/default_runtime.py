# Settings that all configs share. Launching (processes, devices, `--amp`) is not configured here:
# mmseg_erfnet.engine.launch adapts it to the machine.
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)
# A fixed seed: otherwise a resumed run would draw a new one and could not continue the old run.
randomness = dict(seed=0)
# To add Weights & Biases: `visualizer = dict(vis_backends=[*_base_.vis_backends, dict(type='WandbVisBackend')])`.
vis_backends = [dict(type='mmseg_erfnet.RunVisBackend'), dict(type='TensorboardVisBackend')]
# No name: each run gets its own visualizer, even if one process trains twice.
visualizer = dict(type='mmseg_erfnet.RunVisualizer', vis_backends=vis_backends)
# Scalars are named train/loss, val/mIoU, ..., because training and validation both log a `loss`.
log_processor = dict(type='mmseg_erfnet.ProgressLogProcessor', log_with_hierarchy=True)
log_level = 'INFO'
load_from = None
resume = False
# Frames in both training and evaluation are an error. Set True to test whether a model can overfit a few frames.
allow_overlap = False
# `--tta`: the mean of the softmax over the augmented images from `tta_pipeline`.
tta_model = dict(type='mmseg_erfnet.SegTTAModel')
# Robustness: exact resume, no NaN in a checkpoint, checkpoints that survive a kill and load as data.
default_hooks = dict(
    checkpoint=dict(type='mmseg_erfnet.SafeCheckpointHook'),
    # Losses are copied from the device when they are logged, not in each iteration.
    runtime_info=dict(type='mmseg_erfnet.LazyRuntimeInfoHook'),
    # For MMSegmentation's tools/test.py --show-dir, which enables it.
    visualization=dict(type='mmseg_erfnet.VisualizationHook'),
)
custom_hooks = [
    dict(type='mmseg_erfnet.EpochSeedHook'),
    dict(type='mmseg_erfnet.FiniteLossHook'),
    dict(type='mmseg_erfnet.ProgressBarHook'),
    # mIoU on training frames without augmentation, for comparison with val.
    dict(type='mmseg_erfnet.TrainScoreHook', num_images=100),
    dict(type='mmseg_erfnet.ClassTableHook'),
    # A few painted validation frames, about ten times per run, for TensorBoard.
    dict(type='mmseg_erfnet.ValidationPicturesHook'),
    # Pictures in the work dir: curves.png after each validation, report.html after training and after a test.
    dict(type='mmseg_erfnet.CurvesHook'),
    dict(type='mmseg_erfnet.ReportHook'),
]

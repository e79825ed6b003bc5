"""The dimensions of VBench that are measured here, by the names that their curves have here.

Only temporal flickering is the very figure that VBench's scale was made for: the others want DINO, CLIP, RAFT and
AMT-S, in whose place stand encoders, flows and an interpolator without weights.
"""

from vdm_jax.evals.vbench import TEXT_TO_VIDEO

NAMES = {
    'subject_consistency': 'subject_consistency',
    'background_consistency': 'background_consistency',
    'flickering': 'temporal_flickering',
    'smoothness': 'motion_smoothness',
    'dynamic_degree': 'dynamic_degree',
}
DIMENSIONS = {ours: TEXT_TO_VIDEO.dimensions[name] for ours, name in NAMES.items()}

"""A small network of every kind that a config can name, and what else an experiment with it needs."""

DATA = {'source': 'synthetic', 'frames': 3, 'pixels': 8, 'classes': 3}

NETWORKS = {
    'video_dit': {'width': 32, 'heads': 2, 'depth': 2},
    'conv_lstm': {'name': 'conv_lstm', 'layers': 1, 'hidden': 8},
    'image_vae': {'name': 'image_vae', 'block_out_channels': (8, 8), 'layers_per_block': 1, 'norm_num_groups': 4},
    'video_vae': {'name': 'video_vae', 'channels': (8, 8), 'patch': 2, 'blocks': 1, 'groups': 4, 'latent': 4}
    | {'space': 4, 'time': 2},
}


def groups_of(name):
    """Groups of an experiment with that network."""
    groups = {'model': NETWORKS[name], 'data': DATA, 'guidance': {'scale': 1.0}}
    if name == 'conv_lstm':  # it goes on from frames
        groups['diffusion'] = {'process': {'name': 'rectified_flow', 'numbering': 'thousand'}, 'context': 1}
    return groups

"""The official side of networks.py: networks and training losses from checkouts and from diffusers."""

import diffusers
import numpy as np
import torch

from tests.parity import official
from tests.parity.networks import ADAMW, Batch, Case, batch, weights

CHECKOUT = {'dit': 'DIT_CHECKOUT', 'sit': 'SIT_CHECKOUT', 'latte': 'LATTE_CHECKOUT', 'latte_t2v': 'LATTE_CHECKOUT'}


class Theirs:
    """An official network with a case's weights; arrays in and out are the house's, (B, T, H, W, C).

    latte_t2v: diffusers has only the network; it is trained on Latte's loss here.
    """

    def __init__(self, case: Case):
        self.case = case
        self.net = built(case)
        state = self.net.state_dict()
        tensors = weights(case)
        assert tensors.keys() == dict(trainable(self.net)).keys()
        self.net.load_state_dict(state | {name: torch.from_numpy(array) for name, array in tensors.items()})
        self.net.eval()  # only label dropout differs, and that is random

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """All of its state."""
        return {name: tensor.numpy().copy() for name, tensor in self.net.state_dict().items()}

    @torch.no_grad()
    def forward(self, inputs: Batch) -> np.ndarray:
        """Return the network's output."""
        output = self.call(self.input(inputs.x), torch.from_numpy(inputs.times), **self.conditions_of(inputs))
        return self.output(output).numpy()

    def loss_and_gradients(self, inputs: Batch) -> tuple[float, dict[str, np.ndarray]]:
        """(training loss, its gradients by name)."""
        self.net.zero_grad()
        loss = self.loss(inputs)
        loss.backward()
        return float(loss.detach()), {name: parameter.grad.numpy().copy() for name, parameter in trainable(self.net)}

    def train(self, turns: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """(tensors after so many steps of AdamW, the least absolute gradient that each number met)."""
        optimizer = torch.optim.AdamW(
            [parameter for _, parameter in trainable(self.net)],
            lr=ADAMW.learning_rate,
            betas=(ADAMW.b1, ADAMW.b2),
            weight_decay=ADAMW.weight_decay,
        )
        least = {}
        for turn in range(turns):
            _, grads = self.loss_and_gradients(batch(self.case, turn))
            optimizer.step()
            least = {name: np.minimum(least.get(name, np.inf), np.abs(grad)) for name, grad in grads.items()}
        return {name: parameter.detach().numpy().copy() for name, parameter in trainable(self.net)}, least

    def loss(self, inputs: Batch) -> torch.Tensor:
        """The loss that the official trainer takes, at these times and with this noise."""
        x0 = self.input(inputs.x)
        eps = self.input(inputs.eps)
        times = torch.from_numpy(inputs.times)
        conditions = self.conditions_of(inputs)
        if self.case.source == 'sit':
            transport = official.package('SIT_CHECKOUT', 'transport').create_transport('Linear', 'velocity')
            transport.sample = lambda x1: (times, eps, x1)
            return transport.training_losses(self.call, x0, conditions)['loss'].mean()
        create = official.package(CHECKOUT[self.case.source], 'diffusion').create_diffusion
        diffusion = create(timestep_respacing='', learn_sigma=self.case.config.learn_variance)
        return diffusion.training_losses(self.call, x0, times, conditions, eps)['loss'].mean()

    def call(self, x, t, **conditions):
        """The network called, on what its loss hands it."""
        if self.case.source != 'latte_t2v':
            return self.net(x, t, **conditions)
        return self.net(x.transpose(1, 2), t, **conditions).sample.transpose(1, 2)

    def input(self, x: np.ndarray) -> torch.Tensor:
        """(B, T, H, W, C) -> (B, T, C, H, W), for an image network (B, C, H, W)."""
        x = torch.from_numpy(x).movedim(-1, 2)
        return x[:, 0] if self.image else x

    def output(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, None] if self.image else x).movedim(2, -1)

    @property
    def image(self) -> bool:
        return self.case.source in ('dit', 'sit')

    def conditions_of(self, inputs: Batch) -> dict:
        """Conditions by their names in the official code."""
        conditions = {}
        if 'label' in inputs.conditions:
            conditions['y'] = torch.from_numpy(inputs.conditions['label'])
        elif self.image:
            raise ValueError(f'{self.case.key}: this network always has labels')
        if 'text' in inputs.conditions:
            frames = self.case.clip[1]
            mask = torch.from_numpy(inputs.conditions['text_mask']).repeat_interleave(frames, 0)
            conditions['encoder_hidden_states'] = torch.from_numpy(inputs.conditions['text'])
            conditions['encoder_attention_mask'] = mask
        return conditions


def trainable(net: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """Its parameters but for those that are computed."""
    return [(name, parameter) for name, parameter in net.named_parameters() if parameter.requires_grad]


def built(case: Case) -> torch.nn.Module:
    """The official network of a case, as it is born."""
    if case.source == 'latte_t2v':
        return diffusers.LatteTransformer3DModel(**case.about)
    config = case.config
    arguments = {
        'input_size': config.grid[1] * config.patch,
        'patch_size': config.patch,
        'in_channels': config.channels,
        'hidden_size': config.sizes.width,
        'depth': config.sizes.depth,
        'num_heads': config.sizes.heads,
        'mlp_ratio': config.mlp_ratio,
        'learn_sigma': config.learn_variance,
    }
    if config.classes:
        arguments['num_classes'] = config.classes
    if case.source == 'latte':
        arguments |= {'num_frames': config.grid[0], 'extras': 2 if config.classes else 1}
        return official.module('LATTE_CHECKOUT', 'models/latte.py').Latte(**arguments)
    models = official.module(CHECKOUT[case.source], 'models.py')
    return getattr(models, {'dit': 'DiT', 'sit': 'SiT'}[case.source])(**arguments)

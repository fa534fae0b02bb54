"""The SE-ResNet against the description in its paper."""

from __future__ import annotations

from small_networks import described, parameters, shapes


def test_se_resnet_has_the_parameters_of_the_description():
    filters, total = 64, 12 * 64 * 15 + 2 * 64  # no layer before a batch norm has a bias
    for block in range(8):
        before, filters = filters, 64 * 2 ** (block // 2)
        total += before * filters * 7 + 2 * filters + filters * filters * 7 + 2 * filters
        total += 2 * filters * (filters // 16)  # squeeze, excite
        if before != filters:
            total += before * filters + 2 * filters
    total += 5 * 10 + 10 + (512 + 10) * 24 + 24
    assert parameters(described("se_resnet", 12, 24)) == total == 8_837_060


def test_se_resnet_has_the_shapes_of_the_description():
    layers = ["stem", *(f"blocks.{k}" for k in range(8)), "person", "head"]
    assert shapes(described("se_resnet", 12, 24), layers, 12, 4096) == [
        (64, 2048),
        (64, 1024),
        (64, 1024),
        (128, 512),
        (128, 512),
        (256, 256),
        (256, 256),
        (512, 128),
        (512, 128),
        (10,),
        (24,),
    ]

"""What the public blind calls refuse, by the argument's name and before any work."""

import numpy as np
import pytest
from helpers import picture

from deconv import blind

BLURRED = picture("camera", 64)

BAD = [
    ("image", TypeError, {"image": "picture.png"}),
    ("image", TypeError, {"image": BLURRED * 1j}),
    ("image", ValueError, {"image": np.zeros((0, 40))}),
    ("image", ValueError, {"image": np.where(BLURRED > 0.5, np.inf, BLURRED)}),
    ("image", ValueError, {"image": np.ones((64, 64))}),
    ("image", ValueError, {"image": np.full((64, 64), np.nan)}),
    ("image", ValueError, {"image": np.ones(64)}),
    ("image", ValueError, {"image": BLURRED[:10, :40]}),
    ("psf_shape", TypeError, {"psf_shape": 7.5}),
    ("psf_shape", TypeError, {"psf_shape": "7"}),
    ("psf_shape", ValueError, {"psf_shape": 0}),
    ("psf_shape", ValueError, {"psf_shape": (5, 5, 5)}),
    ("psf_shape", ValueError, {"psf_shape": 200}),
    ("psf_shape", ValueError, {"psf_shape": (200, 3)}),
    ("prior", (TypeError, ValueError), {"prior": None}),
    ("prior", ValueError, {"prior": "dark_chanel"}),
    ("sigma", TypeError, {"sigma": "low"}),
    ("sigma", ValueError, {"sigma": -1.0}),
    ("sigma", ValueError, {"sigma": np.nan}),
    ("weights", TypeError, {"weights": "all"}),
    ("weights", ValueError, {"weights": np.ones((3, 5))}),
    ("weights", ValueError, {"weights": np.full(BLURRED.shape, 2.0)}),
    ("weights", ValueError, {"weights": np.full(BLURRED.shape, -1.0)}),
    ("saturation", ValueError, {"saturation": "never"}),
    ("saturation", (TypeError, ValueError), {"saturation": [0.5]}),
    ("saturation", ValueError, {"saturation": 7.0}),
    ("region", TypeError, {"region": 5}),
    ("region", TypeError, {"region": (slice(0, 60), 7)}),
    ("region", TypeError, {"region": (slice(0, 60),)}),
    ("region", TypeError, {"region": (slice(0, 60, 2), slice(0, 60))}),
    ("region", ValueError, {"region": (slice(0, 5), slice(0, 60))}),
    ("region", ValueError, {"region": (slice(300, 400), slice(0, 60))}),
    ("region", ValueError, {"region": (slice(0, 60), slice(20, 65))}),
    ("psf_shape", ValueError, {"psf_shape": 20, "region": (slice(0, 30), slice(0, 60))}),
    ("gamma", TypeError, {"gamma": "2.2"}),
    ("gamma", ValueError, {"gamma": 0.5}),
    ("gamma", ValueError, {"gamma": 22}),
    ("channel_axis", TypeError, {"image": np.stack([BLURRED] * 3), "channel_axis": 0.5}),
    ("channel_axis", ValueError, {"image": np.stack([BLURRED] * 3), "channel_axis": 5}),
    ("channel_axis", ValueError, {"image": np.stack([BLURRED] * 3)}),
    ("method", ValueError, {"method": "tvv"}),
    ("deringing", TypeError, {"deringing": "much"}),
    ("deringing", ValueError, {"deringing": 1.5}),
    ("bounds", TypeError, {"bounds": 0.5}),
    ("bounds", TypeError, {"bounds": ("low", 1.0)}),
    ("bounds", TypeError, {"bounds": (0.0, 0.5, 1.0)}),
]


@pytest.mark.parametrize(
    ("name", "error", "options"), BAD, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(BAD)]
)
def test_bad_input_is_refused_by_name_before_any_work(name, error, options):
    def callback(state):
        pytest.fail("work was done before the input was refused")

    options = {"image": BLURRED, "callback": callback} | options
    for call in (blind.deblur, blind.estimate, blind.estimate_psf):
        if call is not blind.deblur and name in ("method", "deringing", "bounds"):
            continue
        with pytest.raises(error, match=name):
            call(**options)


def test_an_unknown_prior_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="dark_channel"):
        blind.estimate(BLURRED, prior="dark_chanel")

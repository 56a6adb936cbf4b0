"""Networks: a pose net on any timm backbone, a discriminator, a style net."""

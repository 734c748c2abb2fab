"""Control layers enter as pictures or joints; what steers the denoising leaves."""

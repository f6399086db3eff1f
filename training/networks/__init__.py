"""Networks that recipes share; each is a torch module from normalised images to logits."""

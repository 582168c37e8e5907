"""`mg3d audit`: what is wrong with a site's data, before anything is trained on it."""

"""How fast `wirework` is, and how good its drawings are beside those of others."""

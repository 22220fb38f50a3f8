"""The presets: strategies as YAML documents, shipped beside the package that reads them."""

"""Who carries the frames of an impaired link."""

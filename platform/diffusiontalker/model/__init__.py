"""Audio encoders, the contrastive personalizer, motion decoders, and the talker that joins them."""

"""What happens in an episode: drawn or scripted, placed on the road, driven by the cars ahead."""

"""The fold around the core: inputs and state as bytes, chunks, epochs, rebuild; for agents and offline alike."""

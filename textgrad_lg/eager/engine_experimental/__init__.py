"""What TextGrad calls its experimental engines: here, engines like all others."""

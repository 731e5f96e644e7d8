module github.com/atlas-webhooks/atlas-webhooks

go 1.26.0

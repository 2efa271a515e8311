-- The providers are those of the program's registry. Can be run again.
alter table public.provider_file_uploads drop constraint if exists provider_file_uploads_provider_check;
alter table public.upload_intents drop constraint if exists upload_intents_provider_check;

-- The providers are those of the program's registry; an upload names one of them. Can be run again.
alter table public.provider_file_uploads drop constraint if exists provider_file_uploads_provider_check;
alter table public.upload_intents drop constraint if exists upload_intents_provider_check;
alter table public.upload_intents add constraint upload_intents_provider_check check (provider <> '');
